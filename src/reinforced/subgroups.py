"""How evenly a classifier's accuracy is spread over subgroups of the classes, such as kinds of background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Subgroup:
    """Images of one class in one group, and the share of them that is classified right."""

    label: Any
    group: Any
    images: int
    accuracy: float


@dataclass(frozen=True)
class Audit:
    """What an audit found: accuracy over all images, the subgroup with the lowest, and MacroStd."""

    accuracy: float
    worst: Subgroup
    macro_std: float
    """Mean over the classes of the standard deviation of accuracy over its groups, which count by their images."""
    subgroups: tuple[Subgroup, ...]


def audit(labels: Sequence[Any], predictions: Sequence[Any], groups: Sequence[Any], *, min_images: int = 1) -> Audit:
    """Compare accuracy between the groups of each class; one label, prediction and group an image.

    min_images: subgroups with fewer are left out of the worst one and of MacroStd (Chiu et al. 2023, *Better May Not Be
    Fairer*). Raises: ValueError when lengths differ, or when no subgroup has so many images.
    """
    right: dict[tuple[Any, Any], list[bool]] = {}
    for label, prediction, group in zip(labels, predictions, groups, strict=True):
        right.setdefault((label, group), []).append(bool(label == prediction))
    found = tuple(
        Subgroup(label, group, len(hits), sum(hits) / len(hits))
        for (label, group), hits in sorted(right.items(), key=lambda item: (str(item[0][0]), str(item[0][1])))
        if len(hits) >= min_images
    )
    if not found:
        raise ValueError(f"no subgroup of these {len(labels)} images has {min_images} of them; lower min_images")
    spreads = []
    for label in {subgroup.label for subgroup in found}:
        shares, weights = zip(*((s.accuracy, s.images) for s in found if s.label == label), strict=True)
        mean = np.average(shares, weights=weights)
        spreads.append(float(np.sqrt(np.average((np.array(shares) - mean) ** 2, weights=weights))))
    hits = [hit for some in right.values() for hit in some]
    return Audit(sum(hits) / len(hits), min(found, key=lambda s: s.accuracy), float(np.mean(sorted(spreads))), found)
