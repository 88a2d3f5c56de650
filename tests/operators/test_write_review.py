"""The way to a person and back: what is asked, what is answered, what becomes of the rest."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from photos import make_photos

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.filter.review import FilterReview
from reinforced.run import run

WHERE = "label_name = 'flower' AND key < 'flower/00010'"


def test_the_queue_goes_out_as_a_page_and_comes_back_as_a_filter(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 24)
    (tmp_path / "photos" / "flower" / "00001.jpg").rename(tmp_path / "photos" / "flower" / "00001 <b>.jpg")
    spec = {"name": "a", "out": str(tmp_path / "a"), "source": {"op": "read.images", "path": str(tmp_path / "photos")}}
    sink = {"op": "write.review", "path": str(tmp_path / "review"), "where": WHERE, "show": ["width"]}
    run(spec | {"steps": [], "sinks": [sink]}, workers=1)
    page = (tmp_path / "review/review.html").read_text()
    with (tmp_path / "review/review.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [f"flower/0000{i}" + " <b>" * (i == 1) for i in (1, 3, 5, 7, 9)]
    assert page.count("data:image/jpeg;base64,") == 5 and "width: 48" in page
    assert "<b>" not in page and "http" not in page.replace("http-equiv", "")
    answers = [
        row | {"verdict": verdict} for row, verdict in zip(rows, ("keep", "drop", "", "keep", "Drop"), strict=True)
    ]
    answers[1]["note"] = "a hand"
    with (tmp_path / "verdicts.csv").open("w") as file:
        writer = csv.DictWriter(file, ["key", "verdict", "note"])
        writer.writeheader()
        writer.writerows(answers)
    judge = {"op": "filter.review", "path": str(tmp_path / "verdicts.csv")}
    result = run(spec | {"out": str(tmp_path / "b"), "steps": [judge]}, workers=1)
    assert result.counts["filter.review"].reasons == {"review": 2, "no verdict": 1}
    assert len(result.dataset) == 24 - 3


def reasons(folder: Path, text: str, **parameters: str) -> list[str | None]:
    (folder / "verdicts.csv").write_text(text)
    operator = FilterReview(path=str(folder / "verdicts.csv"), **parameters)  # type: ignore[arg-type]
    operator.setup()
    return list(operator.judge(Batch(pa.table({"key": ["a", "b", "c"]}))).reasons)


def test_what_was_not_asked_about_follows_the_stated_rule(tmp_path: Path) -> None:
    text = "key,verdict,note\na,keep,\nb,drop,a face\n"
    assert reasons(tmp_path, text) == [None, "review: a face", None]
    assert reasons(tmp_path, text, unlisted="drop") == [None, "review: a face", "not listed"]


def test_a_list_that_cannot_be_meant_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="line 3: 'maybe' is no verdict"):
        reasons(tmp_path, "key,verdict\na,keep\nb,maybe\n")
    with pytest.raises(RequestError, match="line 3: 'a' has another verdict"):
        reasons(tmp_path, "key,verdict\na,keep\na,drop\n")
    with pytest.raises(RequestError, match="needs columns key and verdict, it has name"):
        reasons(tmp_path, "name\na\n")
