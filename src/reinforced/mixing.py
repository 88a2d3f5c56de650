"""MixUp and CutMix: a view takes something from another image of its shard, which is referred to and never copied.

The partner's view is the one of the same draw, before mixing: a reader of one draw has it at hand.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from reinforced import columns, counter
from reinforced.augmentation import Augmentation, Draw, Integers, Parameters, chosen
from reinforced.images import Pixels

PARTNER = "mix_row"
"""Column of draws that refers to another row of the shard, and so follows it when rows move."""
WHOLE = 255
"""Shares are counted in 1/255: this one leaves the view as it is."""
_CUT = ("cut_x", "cut_y", "cut_width", "cut_height")
_TERMS = 200
Probability = Annotated[float, Field(ge=0, le=1, description="Share of reinforcements that are mixed in this way.")]
Alpha = Annotated[float, Field(gt=0, le=16, description="Both parameters of the Beta distribution of the share.")]


class Mixing(Augmentation):
    """An augmentation that takes something from the partner's view; both views have the same size."""

    @abstractmethod
    def happens(self, made: Parameters) -> npt.NDArray[np.bool_]:
        """Return which of the drawn parameters take anything from a partner."""

    @abstractmethod
    def mix(self, view: Pixels, partner: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Return the view (uint8 (height, width, 3)) mixed with its partner's by the parameters of one row."""


class MixUp(Mixing):
    """Blend the view with another image's (Zhang et al. 2017, *mixup*)."""

    probability: Probability = 0.5
    alpha: Alpha = 1.0

    def outputs(self) -> pa.Schema:
        """Return mix_share."""
        return columns.resolve(["mix_share"])

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:  # noqa: ARG002
        """Draw the view's own share: one word for whether, one for how much."""
        words = draw(2)
        share = np.where(chosen(words[..., 0], self.probability), beta(words[..., 1], self.alpha), WHOLE)
        return {"mix_share": share}

    def happens(self, made: Parameters) -> npt.NDArray[np.bool_]:
        """Return where the view's own share is not all."""
        return np.asarray(made["mix_share"] < WHOLE)

    def mix(self, view: Pixels, partner: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Blend by the stored share, rounded to the nearest level."""
        share = int(row["mix_share"])
        blend = view.astype(np.uint16) * np.uint16(share) + partner.astype(np.uint16) * np.uint16(WHOLE - share)
        return ((blend + np.uint16(WHOLE // 2)) // np.uint16(WHOLE)).astype(np.uint8)


class CutMix(Mixing):
    """Replace a box of the view by the same box of another image's (Yun et al. 2019, *CutMix*)."""

    probability: Probability = 0.5
    alpha: Alpha = 1.0

    def outputs(self) -> pa.Schema:
        """Return cut_x, cut_y, cut_width, cut_height; all 0 where nothing is replaced."""
        return columns.resolve(_CUT)

    def draw(self, draw: Draw, width: Integers, height: Integers) -> Parameters:
        """Draw the box, of the view's shape: words for whether, the share that stays, and the centre (x, y)."""
        words = draw(4)
        taken = WHOLE - np.where(chosen(words[..., 0], self.probability), beta(words[..., 1], self.alpha), WHOLE)
        first, sides = [], []
        for side, word in ((width, words[..., 2]), (height, words[..., 3])):
            # IEEE 754 rounds quotient and square root correctly on every machine.
            length = np.floor(np.sqrt(side * side * taken / WHOLE)).astype(np.int64)
            start = counter.below(word, np.broadcast_to(side, word.shape)) - length // 2
            low, high = np.maximum(start, 0), np.minimum(start + length, side)
            first.append(low)
            sides.append(high - low)
        empty = (sides[0] <= 0) | (sides[1] <= 0)
        return {name: np.where(empty, 0, values) for name, values in zip(_CUT, (*first, *sides), strict=True)}

    def happens(self, made: Parameters) -> npt.NDArray[np.bool_]:
        """Return where there is a box."""
        return np.asarray(made["cut_width"] > 0)

    def mix(self, view: Pixels, partner: Pixels, row: Mapping[str, Any]) -> Pixels:
        """Copy the stored box from the partner's view."""
        x, y, width, height = (int(row[name]) for name in _CUT)
        mixed = view.copy()
        mixed[y : y + height, x : x + width] = partner[y : y + height, x : x + width]
        return mixed


def partners(words: counter.U32, count: int) -> Integers:
    """Return for each of `count` images and draw (words: (images, draws)) another image, its own place if alone."""
    own = np.arange(count)[:, None]
    other = counter.below(words, np.full(words.shape, max(1, count - 1)))
    return np.where(count > 1, other + (other >= own), own)


def beta(words: counter.U32, alpha: float) -> Integers:
    """Draw shares in 1/255 from the Beta distribution with both parameters `alpha`, one for each random word."""
    return np.searchsorted(_thresholds(alpha), words, side="right")


@functools.cache
def _thresholds(alpha: float) -> counter.U32:
    """Words from which on the share is 1, 2, ... 255: the distribution function at half steps, times 2**32.

    The function is summed as a power series in decimal, so that no machine's `pow` decides a share.
    """
    with localcontext() as context:
        context.prec = 50
        a = Decimal(repr(alpha))
        factors, factor = [], Decimal(1)
        for n in range(_TERMS):  # (1 - a)(2 - a)...(n - a) / n!, each over a + n
            factors.append(factor / (a + n))
            factor *= (n + 1 - a) / (n + 1)
        lower = []  # the integral from 0; by symmetry the other half follows
        for step in range(WHOLE // 2 + 1):
            x = (2 * step + 1) / Decimal(2 * WHOLE)
            total = Decimal(0)
            for term in reversed(factors):
                total = total * x + term
            lower.append(x**a * total)
        whole = 2 * lower[-1]  # the last step is at exactly one half
        half = [int((value / whole * 2**32).to_integral_value()) for value in lower]
    return np.array([*half, *(2**32 - value for value in half[-2::-1])], np.uint64)
