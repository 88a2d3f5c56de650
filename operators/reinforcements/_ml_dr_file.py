"""One image's file of ml-dr: parameter lists, which only the configuration explains, and sparse probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._archive import Archive
from ._ml_dr_recipe import Recipe
from ._pickles import load
from ._torchvision import stored_operations

Values = dict[str, npt.NDArray[Any]]

_BOXES = {
    "random_resized_crop": ("crop_y", "crop_x", "crop_height", "crop_width"),
    "random_erase": ("erase_y", "erase_x", "erase_height", "erase_width"),
}


def read_image(archive: Archive, folder: str, recipe: Recipe, index: int, size: tuple[int, int]) -> Values:
    """Return the columns of one image, (width, height) in px, with `classes` and `probabilities`; one row a draw.

    Raises: ValueError when there is no such file, it is damaged, or does not fit the configuration or the image.
    """
    file = f"{folder}{index}.pth.tar"
    data = archive.read(file)
    try:
        said, samples = load(data)
        if said != index:
            raise ValueError(f"says it is of image {said}, not {index}")
        if len(samples) != recipe.draws:
            raise ValueError(f"has {len(samples)} reinforcements, the configuration says {recipe.draws}")
        values = _parameters(recipe, [sample["params"] for sample in samples], *size)
        probabilities, classes = zip(*(sample["prob"] for sample in samples), strict=True)
        values["probabilities"], values["classes"] = np.array(probabilities, np.float64), np.array(classes)
        shapes = {name: values[name].shape for name in ("probabilities", "classes")}
        if set(shapes.values()) != {(recipe.draws, recipe.top_k)} or values["classes"].dtype != np.int64:
            raise ValueError(f"prob must hold {recipe.top_k} probabilities and as many classes, got {shapes}")
    except (ValueError, TypeError, KeyError) as error:
        kind = "" if isinstance(error, ValueError) else f"is not as ml-dr writes it: {type(error).__name__}: "
        raise ValueError(f"{file} {kind}{error}") from error
    return values


def _parameters(recipe: Recipe, lists: Sequence[Any], width: int, height: int) -> Values:
    """Turn the parameter lists of one image (width x height px) into this package's columns, one row each.

    Raises: ValueError for a list that does not fit the configuration, or a box outside the image.
    """
    count = len(recipe.transforms)
    if any(not isinstance(entry, list) or len(entry) != count for entry in lists):
        raise ValueError(f"each list of params must hold {count} entries: {', '.join(recipe.transforms)}")
    values: Values = {}
    for transform, entries in zip(recipe.transforms, zip(*lists, strict=True), strict=True):
        if transform != "resize":
            values |= _READERS[transform](recipe, entries)
    if "crop_x" in values:
        if not (values["crop_width"].all() and values["crop_height"].all()):
            raise ValueError("random_resized_crop has a side of 0 px")
        inside = (values["crop_x"] + values["crop_width"] <= width) & (
            values["crop_y"] + values["crop_height"] <= height
        )
        if not inside.all():
            raise ValueError(f"a crop lies outside the {width}x{height} px image: the file belongs to another image")
    elif width != height and len(set(recipe.augment.size)) == 1:
        raise ValueError(f"resize keeps the proportions, which only a square image allows, not {width}x{height} px")
    return values


def _integers(entries: Sequence[Any], count: int, what: str) -> npt.NDArray[np.int64]:
    found = np.array(entries)
    if found.dtype.kind not in "iu" or found.shape != (len(entries), count) or found.min() < 0 or found.max() > 65_535:
        raise ValueError(f"{what} must be {count} integers from 0 to 65535 each")
    return found.astype(np.int64)


def _box(transform: str) -> Callable[[Recipe, Sequence[Any]], Values]:
    def read(recipe: Recipe, entries: Sequence[Any]) -> Values:  # noqa: ARG001
        given = [(0, 0, 0, 0) if entry is None else entry for entry in entries]
        return dict(zip(_BOXES[transform], _integers(given, 4, transform).T, strict=True))

    return read


def _shift(recipe: Recipe, entries: Sequence[Any]) -> Values:
    assert recipe.augment.random_crop is not None
    padding = recipe.augment.random_crop.padding_px
    top, left = _integers(entries, 2, "random_crop").T
    if max(top.max(), left.max()) > 2 * padding:
        raise ValueError(f"random_crop must be from 0 to twice the padding of {padding} px")
    return {"shift_x": padding - left, "shift_y": padding - top}


def _flip(recipe: Recipe, entries: Sequence[Any]) -> Values:  # noqa: ARG001
    if not all(isinstance(entry, bool) for entry in entries):
        raise ValueError("random_horizontal_flip must be true or false")
    return {"flip": np.array(entries)}


def _operations(recipe: Recipe, entries: Sequence[Any]) -> Values:
    assert recipe.augment.rand_augment is not None
    count = recipe.augment.rand_augment.operations
    given = np.array([[(0, 0.0)] * count if entry is None else entry for entry in entries], np.float64)
    if given.shape != (len(entries), count, 2):
        raise ValueError(f"rand_augment must be {count} pairs of operation and magnitude")
    numbers = given[..., 0].astype(np.int64)
    return stored_operations(numbers, given[..., 1], recipe.augment.size)


_READERS: dict[str, Callable[[Recipe, Sequence[Any]], Values]] = {
    "random_crop": _shift,
    "random_resized_crop": _box("random_resized_crop"),
    "random_horizontal_flip": _flip,
    "rand_augment": _operations,
    "random_erase": _box("random_erase"),
}
