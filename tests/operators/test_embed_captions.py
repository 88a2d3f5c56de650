from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from clip_dataset import pairs, teachers

pytest.importorskip("open_clip")

from reinforced.operators.embed.captions import EmbedCaptions


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> EmbedCaptions:
    found = EmbedCaptions(teachers=teachers(tmp_path_factory.mktemp("models")), draws=5, batch_size=4)  # type: ignore[arg-type]
    found.setup()
    return found


def test_each_text_has_the_embedding_that_every_teacher_gives_it(operator: EmbedCaptions) -> None:
    table = pairs(6)
    rows = operator(table).column("caption_embedding").to_pylist()
    assert len(rows) == 30
    for i, row in enumerate(table.to_pylist()):
        texts = [row["caption"], *(row["captions"] * 4)[:4]]
        said = np.concatenate([encoder.texts(texts) for encoder in operator.ensemble.encoders], axis=1)
        np.testing.assert_allclose(rows[5 * i : 5 * i + 5], said, atol=2**-11)


def test_texts_embed_the_same_in_whatever_batch(operator: EmbedCaptions) -> None:
    table = pairs(6)
    assert operator(table.slice(4, 2)).equals(operator(table).slice(20, 10))
    assert operator(table.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    ("caption", "captions", "message"),
    [(None, ["a"], "no caption"), ("a", [], "no synthetic captions"), ("a", ["b", None], "one of them is null")],
)
def test_a_row_without_a_text_fails(
    operator: EmbedCaptions, caption: str | None, captions: list[Any], message: str
) -> None:
    row = {"key": ["a"], "caption": pa.array([caption], pa.string())}
    with pytest.raises(ValueError, match=message):
        operator(pa.table(row | {"captions": pa.array([captions], pa.list_(pa.string()))}))


def test_a_column_that_is_no_list_of_texts_is_refused(operator: EmbedCaptions) -> None:
    for kind in (pa.string(), pa.list_(pa.int32())):
        with pytest.raises(ValueError, match="not a list of strings"):
            operator.check(pa.schema({"caption": pa.string(), "captions": kind}))


def test_the_layer_says_which_columns_hold_the_texts(operator: EmbedCaptions) -> None:
    assert json.loads(operator.metadata()["captions"]) == {"caption": "caption", "captions": "captions", "draws": 5}
