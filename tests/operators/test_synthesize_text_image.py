from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.operators.synthesize.text_image import SynthesizeTextImage
from reinforced.pixel_layout import fit_layout


@pytest.fixture
def table() -> pa.Table:
    vectors = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 12)
    return pa.table({"key": [f"text/{i}" for i in range(30)], "label": list(range(30)), "embedding": values})


@pytest.fixture
def operator(table: pa.Table, tmp_path: Path) -> SynthesizeTextImage:
    fit_layout(np.array(table.column("embedding").to_pylist())[:20]).save(str(tmp_path / "layout.parquet"))
    return SynthesizeTextImage(layout=str(tmp_path / "layout.parquet"), embedding="embedding", size_px=8)


def test_every_text_becomes_a_picture_of_its_own_with_its_label(table: pa.Table, operator: SynthesizeTextImage) -> None:
    operator.check(table.schema)
    made = operator(table)
    assert made.column("key").to_pylist() == [f"text/{i}/image" for i in range(30)]
    assert made.column("parent").to_pylist() == table.column("key").to_pylist()
    assert made.column("label").to_pylist() == list(range(30))
    pictures = [decode(data) for data in made.column("image").to_pylist()]
    assert {picture.shape for picture in pictures} == {(8, 8, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 30
    parts = [operator.generate(Batch(table.slice(start, 7))) for start in range(0, 30, 7)]
    assert pa.concat_tables(parts).column("image").to_pylist() == made.column("image").to_pylist()


def test_a_row_without_a_vector_says_so(table: pa.Table, operator: SynthesizeTextImage) -> None:
    empty = pa.table({"key": ["a"], "embedding": pa.array([None], table.schema.field("embedding").type)})
    with pytest.raises(ValueError, match="the row has no embedding"):
        operator(empty)
    short = pa.table({"key": ["a"], "embedding": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match="a vector of 2 features; the layout has 12"):
        operator(short)


def test_another_layout_makes_the_pictures_again_and_none_is_refused_in_the_plan(
    table: pa.Table, operator: SynthesizeTextImage
) -> None:
    before = operator.ingredients()
    fit_layout(np.array(table.column("embedding").to_pylist())[5:], seed=1).save(operator.layout)
    assert operator.ingredients() != before
    Path(operator.layout).unlink()
    with pytest.raises(RequestError, match="is no layout"):
        operator.check(table.schema)
