from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from broken_images import encode, exif, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from standard_table import standard_table

from reinforced.batch import Batch
from reinforced.images import decode, encode_png
from reinforced.operators.generate.tiles import GenerateTiles


def tiles_of(image: bytes, rows: int, columns: int) -> list[np.ndarray]:
    made = GenerateTiles(rows=rows, columns=columns).generate(Batch(pa.table({"key": ["a"], "image": [image]})))
    return [decode(tile) for tile in made.column("image").to_pylist()]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 30), st.integers(0, 30))
def test_tiles_laid_side_by_side_are_the_image_again(rows: int, columns: int, more_rows: int, more: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (rows + more_rows, columns + more, 3), dtype=np.uint8)
    tiles = tiles_of(encode_png(pixels), rows, columns)
    assert len(tiles) == rows * columns
    grid = [np.concatenate(tiles[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
    np.testing.assert_array_equal(np.concatenate(grid), pixels)
    heights, widths = ({tile.shape[axis] for tile in tiles} for axis in (0, 1))
    assert max(heights) - min(heights) <= 1
    assert max(widths) - min(widths) <= 1


def test_a_photo_is_cut_as_a_person_sees_it() -> None:
    first, second = tiles_of(encode(photo(80, 40), "JPEG", exif=exif(6)), 2, 1)
    assert first.shape == second.shape == (40, 40, 3)


def test_labels_and_paths_go_with_the_tiles_but_sizes_and_hashes_do_not() -> None:
    table = standard_table().append_column("pixel_sha256", pa.array(["of the parent"] * 12))
    made = GenerateTiles(rows=2, columns=2).generate(Batch(table))
    assert set(made.column_names) == {"key", "image", "path", "label", "label_name", "split", "parent", "_parent"}
    parents = {row["key"]: row for row in table.to_pylist()}
    for row in made.to_pylist():
        parent = parents[row["parent"]]
        assert [row[name] for name in ("path", "label", "split")] == [
            parent[name] for name in ("path", "label", "split")
        ]
        assert row["key"].startswith(f"{parent['key']}/000")
    assert made.column("_parent").to_pylist() == [i // 4 for i in range(48)]
    assert made.column("key").to_pylist()[:4] == [f"image/00/000{n}" for n in (1, 2, 3, 4)]


def test_a_tile_of_a_tile_names_the_tile_it_came_from() -> None:
    operator = GenerateTiles(rows=1, columns=2)
    twice = operator(operator(standard_table().slice(3, 1)))
    assert twice.column("key").to_pylist()[2] == "image/03/0002/0001"
    assert twice.column("parent").to_pylist()[2] == "image/03/0002"


def test_an_image_too_small_to_cut_says_so_instead_of_giving_empty_tiles() -> None:
    with pytest.raises(ValueError, match="3 x 2 px cannot be cut into 2 x 4 tiles"):
        tiles_of(encode_png(np.zeros((2, 3, 3), np.uint8)), 4, 2)
