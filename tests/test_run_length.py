"""Masks: what pycocotools reads and writes is what this reads and writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reinforced.run_length import covered, decode, encode

coco = pytest.importorskip("pycocotools.mask")
masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))


def discs() -> np.ndarray:
    y, x = np.mgrid[:300, :500]
    return (x - 200) ** 2 + (y - 120) ** 2 < 90**2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2
@given(masks)
@example(np.zeros((3, 5), bool))
@example(np.ones((700, 1), bool))
@example(discs())
def test_pycocotools_reads_and_writes_the_same_text(mask: np.ndarray) -> None:
    own, theirs = encode(mask), coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert own["counts"].encode() == theirs["counts"]
    assert (coco.decode(own) == mask).all()
    assert (decode(own["size"], own["counts"]) == mask).all()
    assert covered(own["counts"]) == mask.size


def test_runs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="cover 15 pixels, its size is 4 x 4"):
        decode([4, 4], encode(np.ones((3, 5), bool))["counts"])
    with pytest.raises(ValueError, match="no character"):
        decode([4, 4], "~")
