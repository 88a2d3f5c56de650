"""Counter-based random numbers: the value depends on what it is for, never on when it is drawn.

Philox-4x32-10 (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*), checked against the authors' known
answers. The key is the pair (seed, operator), the counter is (sample key, draw, index).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: U32, key: tuple[int, int]) -> U32:
    """Encrypt counters of shape (..., 4) with a key of two 32-bit words; returns as many random words, (..., 4)."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def hash64(text: str) -> int:
    """Return the first 64 bits of the text's BLAKE2b: how sample keys and operator names become numbers."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def words(seed: int, operator: str, keys: Sequence[str], draws: Sequence[int], count: int) -> U32:
    """Return `count` random 32-bit words for every (key, draw), shape (keys, draws, count).

    Word i of (key, draw) is the same whatever other keys, draws or words are asked for beside it.
    """
    blocks = -(-count // 4)
    name = hash64(f"{seed}/{operator}")
    samples = np.array([hash64(key) for key in keys], np.uint64).reshape(-1, 1, 1)
    counter = np.empty((len(keys), len(draws), blocks, 4), np.uint32)
    counter[..., 0] = (samples & _LOW).astype(np.uint32)
    counter[..., 1] = (samples >> _SHIFT).astype(np.uint32)
    counter[..., 2] = np.asarray(draws, np.uint32).reshape(1, -1, 1)
    counter[..., 3] = np.arange(blocks, dtype=np.uint32)
    return philox(counter, (name & 0xFFFFFFFF, name >> 32)).reshape(len(keys), len(draws), blocks * 4)[..., :count]


def below(random_words: U32, limit: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Map 32-bit words to integers in [0, limit) by multiply and shift (bias below limit / 2**32)."""
    return ((random_words.astype(np.uint64) * np.asarray(limit, np.uint64)) >> _SHIFT).astype(np.int64)
