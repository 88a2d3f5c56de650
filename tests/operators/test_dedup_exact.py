from __future__ import annotations

import random

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from broken_images import encode, photo
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.batch import Batch
from reinforced.operators.dedup.exact import DedupExact
from reinforced.operators.hash.pixels import HashPixels

PNG, BMP, JPEG = (encode(photo(), format) for format in ("PNG", "BMP", "JPEG"))


def table(images: list[bytes | None], keys: list[str] | None = None) -> pa.Table:
    return pa.table({"key": keys or [f"{i}" for i in range(len(images))], "image": pa.array(images, pa.binary())})


def dropped(operator: DedupExact, sketches: pa.Table) -> list[tuple[str, int, str, float | None]]:
    with duckdb.connect() as connection:
        return sorted(operator.reduce(connection.from_arrow(sketches)).fetchall())


def test_equal_bytes_are_kept_once_and_equal_pixels_where_asked() -> None:
    images = table([PNG, BMP, JPEG, PNG, BMP])
    assert DedupExact(by="bytes")(images).column("key").to_pylist() == ["0", "1", "2"]
    assert DedupExact(by="pixels")(images).column("key").to_pylist() == ["0", "2"]


def test_the_smallest_key_survives_wherever_it_stands_and_every_other_names_it() -> None:
    sketches = pa.table({"shard": ["1", "0", "0"], "row": [0, 0, 1], "key": ["b", "c", "a"], "digest": ["x"] * 3})
    assert dropped(DedupExact(), sketches) == [
        ("0", 0, "duplicate: a is kept", None),
        ("1", 0, "duplicate: a is kept", None),
    ]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["p", "q", "r", None]), max_size=20), st.randoms(use_true_random=False))
def test_the_decision_equals_a_plain_loop_in_whatever_order_shards_come(
    digests: list[str | None], random: random.Random
) -> None:
    keys = [f"{i * 7919 % 101:03d}" for i in range(len(digests))]
    rows = [(f"{i % 3}", i // 3, key, digest) for i, (key, digest) in enumerate(zip(keys, digests, strict=True))]
    expected = sorted(
        (shard, row, f"duplicate: {survivor} is kept", None)
        for shard, row, key, digest in rows
        if digest and key != (survivor := min(k for _, _, k, d in rows if d == digest))
    )
    random.shuffle(rows)
    schema = pa.schema({"shard": pa.string(), "row": pa.int64(), "key": pa.string(), "digest": pa.string()})
    columns = [list(values) for values in zip(*rows, strict=True)] or [[], [], [], []]
    assert dropped(DedupExact(), pa.table(columns, schema=schema)) == expected


def test_keys_are_compared_byte_by_byte_in_any_language() -> None:
    keys = ["ß", "z", "Ä", "a", "é"]
    found = DedupExact()(table([PNG] * 5, keys)).column("key").to_pylist()
    assert found == [min(keys, key=str.encode)] == ["a"]


def test_rows_without_an_image_are_not_taken_for_copies_of_each_other() -> None:
    assert DedupExact()(table([None, None, PNG, PNG])).column("key").to_pylist() == ["0", "1", "2"]


def test_hashes_that_are_there_are_used_and_nothing_is_decoded() -> None:
    unreadable = table([b"no image", b"nor this"])
    hashed = unreadable.append_column("pixel_sha256", pa.array(["same", "same"]))
    assert DedupExact(by="pixels")(hashed).column("key").to_pylist() == ["0"]
    measured = unreadable.append_column("sha256", pa.array(["same", "same"]))
    assert DedupExact(by="bytes")(measured).column("key").to_pylist() == ["0"]


@pytest.mark.parametrize("by", ["bytes", "pixels"])
def test_own_hashes_and_those_of_the_columns_agree(by: str) -> None:
    images = table([PNG, BMP, PNG])
    hashed = HashPixels()(images)
    operator = DedupExact(by=by)
    first, second = (operator.sketch(Batch(t))["digest"] for t in (images, hashed))
    assert list(first) == list(second)


def test_pictures_of_one_size_that_differ_in_one_pixel_both_stay() -> None:
    pixels = np.asarray(photo()).copy()
    pixels[-1, -1, 2] ^= 1
    from reinforced.images import encode_png

    assert DedupExact(by="pixels")(table([PNG, encode_png(pixels)])).num_rows == 2


def test_its_parameters_can_be_written_in_yaml() -> None:
    import yaml

    parameters = yaml.safe_load("{by: pixels}")
    assert DedupExact(**parameters).by == "pixels"
