from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from digits_clip import NAMES, SIDE, digits
from language_server import LanguageServer, Settings

from reinforced.batch import Batch
from reinforced.errors import RowErrors
from reinforced.images import encode_png
from reinforced.operators.caption.match import CaptionMatch
from reinforced.operators.embed.text import EmbedText
from reinforced.run import run


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer() as started:
        yield started


def described(server: LanguageServer, folder: Path, **source: Any) -> str:
    """Make the dataset of descriptions of two classes; the server says each prompt back."""
    spec = {
        "name": "classes",
        "out": str(folder / "classes"),
        "source": {
            "op": "caption.classes",
            "model": {"endpoint": server.url, "name": "small-eye"},
            "requests": {"cache": str(folder / "answers")},
            **source,
        },
        "max_failure_rate": 0.9,
    }
    return run(spec, workers=1).path


def test_every_class_gets_every_combination_of_the_lists(server: LanguageServer, tmp_path: Path) -> None:
    import reinforced

    lists = {"part": ["bill", "wing"], "sex": ["male", "female"]}
    templates = ["The {part} of a {sex} {label_name}", "A {label_name}"]
    path = described(server, tmp_path, classes=["wren", "robin"], templates=templates, lists=lists)
    table = reinforced.open(path).to_arrow(columns=["label_name", "prompt", "caption", "caption_model"])
    assert table.num_rows == 2 * (2 * 2 + 1)
    assert table.column("caption").to_pylist() == [f"Said about: {p}" for p in table.column("prompt").to_pylist()]
    assert {"The wing of a female robin", "A wren"} < set(table.column("prompt").to_pylist())
    assert set(table.column("caption_model").to_pylist()) == {"small-eye"}


def test_a_refused_description_is_in_the_ledger_and_not_in_the_table(server: LanguageServer, tmp_path: Path) -> None:
    import reinforced

    server.settings = Settings(one_in={"refusal": 2})
    path = described(server, tmp_path, classes=[f"bird {i}" for i in range(12)], templates=["A {label_name}"])
    captions = reinforced.open(path).to_arrow(columns=["caption"]).column("caption").to_pylist()
    assert 0 < len(captions) < 12
    assert all(text.startswith("Said about: ") for text in captions)


def test_a_template_that_names_no_list_is_refused(server: LanguageServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names \{beak\}; lists has part"):
        described(server, tmp_path, classes=["wren"], templates=["{beak} {label_name}"], lists={"part": ["bill"]})


@pytest.fixture
def matcher(server: LanguageServer, tmp_path: Path, digits_clip: Path) -> CaptionMatch:
    """Match digits with ten descriptions, one for each digit, as if all ten were of one class."""
    templates, lists = ["the digit {digit}, a {label_name}"], {"digit": list(NAMES)}
    path = described(server, tmp_path, classes=["number"], templates=templates, lists=lists)
    operator = CaptionMatch.model_validate({"descriptions": path, "model": {"open_clip": str(digits_clip)}})
    operator.setup()
    return operator


def rows(split: str, name: str = "number") -> tuple[pa.Table, list[int]]:
    images, labels = digits(split)
    table = pa.table({"key": [f"{i}" for i in range(len(images))], "image": [encode_png(one) for one in images]})
    return table.append_column("label_name", pa.array([name] * len(images))), labels.tolist()


def test_the_description_of_the_digit_in_the_picture_comes_first(matcher: CaptionMatch) -> None:
    table, labels = rows("test")
    found = matcher.apply(Batch(table))
    first = [NAMES.index(re.search(r"digit (\w+)", text)[1]) for text in found.values("caption")]  # type: ignore[index]
    assert np.mean(np.array(first) == labels) >= 0.95
    assert all(len(texts) == len(set(texts)) == 5 for texts in found.values("captions"))


def test_similarities_are_cosines_and_probabilities_their_softmax_in_the_class(matcher: CaptionMatch) -> None:
    table, _ = rows("calibration")
    found = matcher.model_copy(update={"top_k": 10}).apply(Batch(table.slice(0, 20)))
    cosines = np.array(found.values("caption_similarities"))
    assert (np.diff(cosines, axis=1) <= 0).all() and np.abs(cosines).max() <= 1.001
    weights = np.exp(100 * (cosines - cosines[:, :1]))
    np.testing.assert_allclose(
        found.values("caption_probabilities"), weights / weights.sum(1, keepdims=True), rtol=1e-2, atol=1e-6
    )


def test_an_image_of_a_class_without_descriptions_fails_alone(matcher: CaptionMatch) -> None:
    table = pa.concat_tables([rows("test")[0].slice(0, 2), rows("test", "letter")[0].slice(2, 1)])
    with pytest.raises(RowErrors) as caught:
        matcher.apply(Batch(table))
    assert caught.value.reasons == {2: "no description of class: letter"}


def test_text_vectors_are_those_that_the_images_are_matched_with(matcher: CaptionMatch, digits_clip: Path) -> None:
    texts = [f"the digit {name}" for name in NAMES]
    operator = EmbedText.model_validate({"model": {"open_clip": str(digits_clip)}, "store": "float32"})
    operator.setup()
    table = pa.table({"key": [str(i) for i in range(10)], "caption": texts})
    vectors = np.array(operator.apply(Batch(table)).values("text_embedding"))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    images, labels = digits("test")
    assert images.shape[1:] == (SIDE, SIDE, 3)
    seen = matcher._encoder.images(list(images))  # type: ignore[union-attr]
    assert np.mean(np.argmax(seen @ vectors.T, axis=1) == labels) >= 0.95
