"""Counter-based random numbers taken one after another, for what needs an unknown number of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from reinforced import counter

BLOCK = 64
_Choice = TypeVar("_Choice")


class Stream:
    """The random numbers of one key: the same sequence whoever asks, whatever else is drawn beside it.

    Numbers come from 32-bit words by arithmetic that rounds in one way everywhere (no sine, no logarithm), so a
    sequence of them is the same on every machine.
    """

    def __init__(self, seed: int, operator: str, key: str, first: list[int] | None = None) -> None:
        self._of, self._block, self._at = (seed, operator, key), 0, 0
        self._words = first if first is not None else self._fetch()

    def _fetch(self) -> list[int]:
        seed, operator, key = self._of
        words: list[int] = counter.words(seed, operator, [key], [self._block], BLOCK)[0, 0].tolist()
        return words

    def word(self) -> int:
        """Return the next 32 random bits."""
        if self._at == BLOCK:
            self._block, self._at = self._block + 1, 0
            self._words = self._fetch()
        self._at += 1
        return self._words[self._at - 1]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * (self.word() / 4294967296)

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit)."""
        return self.word() * limit >> 32

    def between(self, least: int, most: int) -> int:
        """Return an integer from `least` to `most`, both possible."""
        return least + self.below(most - least + 1)

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.uniform() < probability

    def choice(self, values: Sequence[_Choice]) -> _Choice:
        """Return one of the values."""
        return values[self.below(len(values))]

    def direction(self) -> tuple[float, float]:
        """Return a unit vector (x, y) of any direction: a point of the unit disc, moved to its rim."""
        while True:
            x, y = self.uniform(-1, 1), self.uniform(-1, 1)
            square = x * x + y * y
            if 0.01 < square <= 1:
                length = math.sqrt(square)
                return x / length, y / length


def streams(seed: int, operator: str, keys: Sequence[str]) -> list[Stream]:
    """Return a stream for each key, their first words drawn at once."""
    words = counter.words(seed, operator, keys, [0], BLOCK)[:, 0].tolist() if keys else []
    return [Stream(seed, operator, key, first) for key, first in zip(keys, words, strict=True)]
