from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from reinforced.images import decode
from reinforced.operators.read.digits import ReadDigits


def whole(shard_rows: int = 300) -> pa.Table:
    source = ReadDigits(shard_rows=shard_rows)
    return pa.concat_tables(source.read(shard) for shard in source.shards())


def test_every_digit_arrives_once_with_its_own_key_and_label() -> None:
    table = whole()
    assert table.num_rows == 1797 and len(set(table["key"].to_pylist())) == 1797
    assert table["key"][0].as_py() == "digit/0000"
    assert table["label"].to_pylist()[:10] == list(range(10))
    assert table["label_name"].to_pylist()[:3] == ["zero", "one", "two"]


def test_pictures_are_grey_and_keep_all_seventeen_levels() -> None:
    from sklearn.datasets import load_digits

    table, original = whole(), load_digits().images
    for row in (0, 500, 1796):
        pixels = decode(table["image"][row].as_py())
        assert pixels.shape == (8, 8, 3) and (np.ptp(pixels, axis=2) == 0).all()
        np.testing.assert_array_equal(np.round(pixels[..., 0] / (255 / 16)), original[row])


def test_the_test_split_is_apart_and_every_class_is_in_every_split() -> None:
    table = whole()
    sizes = Counter(table["split"].to_pylist())
    assert sizes == {"train": 1046, "calibration": 300, "test": 451}
    by_class = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    for split, size in sizes.items():
        assert all(abs(by_class[split, label] - size / 10) <= 4 for label in range(10))


def test_another_shard_size_changes_neither_rows_nor_splits() -> None:
    assert whole(shard_rows=1000).equals(whole(shard_rows=77))


def test_the_columns_promised_are_the_columns_read() -> None:
    source = ReadDigits()
    assert source.read(next(source.shards())).schema.equals(source.columns(), check_metadata=True)


def test_shards_of_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="shard_rows"):
        ReadDigits(shard_rows=0)
