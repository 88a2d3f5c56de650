import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from standard_table import standard_table

from reinforced.corruption import CORRUPTIONS, corrupt
from reinforced.images import decode
from reinforced.operators.augment.corrupt import AugmentCorrupt


def test_a_corrupted_copy_names_its_parent_and_says_how_it_was_corrupted() -> None:
    table = standard_table().slice(0, 3)
    operator = AugmentCorrupt(corruptions=["fog", "pixelate"], severities=[1, 5], seed=3)
    made = operator(table)
    assert made.column("key").to_pylist()[:4] == [
        f"image/00/{kind}" for kind in ("fog-1", "fog-5", "pixelate-1", "pixelate-5")
    ]
    assert made.column("parent").to_pylist() == [f"image/{i // 4:02d}" for i in range(12)]
    for row in made.to_pylist():
        assert row["key"] == f"{row['parent']}/{row['corruption']}-{row['severity']}"
        original = decode(table.filter(pa.compute.equal(table.column("key"), row["parent"])).column("image")[0].as_py())
        expected = corrupt(original, row["corruption"], row["severity"], key=row["parent"], seed=3)
        np.testing.assert_array_equal(decode(row["image"]), expected)


def test_labels_and_splits_go_with_the_copies_but_hashes_of_the_file_do_not() -> None:
    made = AugmentCorrupt(corruptions=["contrast"], severities=[2])(standard_table())
    assert made.column("label").equals(standard_table().column("label"))
    assert made.column("split").equals(standard_table().column("split"))
    assert "sha256" not in made.column_names


def test_all_means_every_corruption_as_does_nothing() -> None:
    assert AugmentCorrupt(corruptions="all").corruptions == AugmentCorrupt().corruptions == tuple(CORRUPTIONS)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"corruptions": ["zoomblur"]}, "'zoomblur' is unknown; did you mean 'zoom_blur'"),
        ({"corruptions": []}, "at least 1 item"),
        ({"corruptions": ["fog", "fog"]}, "corruption fog is named more than once"),
        ({"severities": [3, 6]}, r"severity 6 must be from 1 \(mild\) to 5 \(severe\)"),
        ({"severities": [0]}, "severity 0 must be"),
        ({"severities": [2, 2]}, "severity 2 is named more than once"),
    ],
)
def test_a_corruption_that_is_not_there_is_refused_before_the_run(parameters: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AugmentCorrupt(**parameters)
