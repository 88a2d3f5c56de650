import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reinforced_dataset import png, write_dataset

from reinforced.dataset import Dataset, open_dataset
from reinforced.record import StepCounts
from reinforced.report import EXAMPLES, deltas, diagrams, examples, gallery, render_report, write_report
from reinforced.run import run

HOSTILE = '<img src=x onerror="alert(1)">&\'quoted'
FUNNEL = {"read": StepCounts(20, 18, 0, 2, 0, {HOSTILE: 2}), "filter": StepCounts(18, 15, 3, 0, 0, {"min_side_px": 3})}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def evaluation() -> dict[str, Any]:
    bins = [{"lower": 0.0, "upper": 1.0, "count": 4, "confidence": 0.75, "accuracy": 0.5}]
    scores = {
        "ece_equal_mass": [0.1],
        "nll": [0.3, 0.4],
        "reliability": bins,
        "seconds_per_epoch": 0.5,
        "images_per_second": 30.0,
    }
    arms = [
        {"arm": "hard labels", "accuracy": [0.9, 0.8], "ece": [0.1, 0.1], **scores},
        {"arm": "reinforced", "accuracy": [0.95, 0.93], "ece": [0.04, 0.02], **scores},
    ]
    counts = {"train_images": 10, "test_images": 20, "draws": 4, "steps": 30, "stored_first_choice_is_label": 0.9}
    return {"student": "MLP-8", "arms": arms, "teacher": None, "teachers": [], "teacher_saw": HOSTILE, **counts}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(str(write_dataset(tmp_path_factory.mktemp("report") / "small")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("hostile")
    for name in (HOSTILE, "plain"):
        (folder / "in" / name).mkdir(parents=True)
        (folder / "in" / name / f"{HOSTILE}.png").write_bytes(png(1, 200, 90))
    pipeline = {"name": "hostile", "out": str(folder / "out"), "source": {"op": "read.images", "path": f"{folder}/in"}}
    return run(pipeline).dataset


def test_names_and_keys_from_data_are_text_and_never_markup(hostile: Dataset) -> None:
    page = Page(render_report(hostile, FUNNEL, evaluation()))
    assert HOSTILE in page.text
    assert any(HOSTILE in str(image["alt"]) for image in page.images())
    assert not any("onerror" in attributes or "onerror" in tag for tag, attributes in page.tags)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "link"})


def test_nothing_is_fetched_from_anywhere(small: Dataset) -> None:
    html = render_report(small, FUNNEL, evaluation())
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in Page(html).images())
    assert not re.search(r"https?://|url\(|@import|srcset", html)
    assert "default-src 'none'" in html


def test_the_funnel_shows_where_rows_went_and_why(small: Dataset) -> None:
    text = " ".join(Page(render_report(small, FUNNEL, None)).text.split())
    assert "18 in, 15 kept, 3 dropped, 0 failed" in text and "3 × min_side_px" in text
    assert "15 of 20 images were kept" in text


def test_only_the_three_commonest_reasons_are_listed(small: Dataset) -> None:
    reasons = {f"reason {i}": i for i in range(1, 6)}
    text = Page(render_report(small, {"filter": StepCounts(30, 15, 15, 0, 0, reasons)}, None)).text
    assert re.findall(r"reason \d", text) == ["reason 5", "reason 4", "reason 3"]


def test_views_stand_beside_what_the_teachers_said_of_them(small: Dataset) -> None:
    found = examples(small, "reinforced", {0: "zero"})
    assert 1 < len(found) <= EXAMPLES
    tops = [np.mean([answers[0][1] for _, answers in example.views]) for example in found]
    assert tops == sorted(tops, reverse=True)
    for example in found:
        assert len(example.views) == 4 and example.picture.name.startswith("0/")
        shares = [[share for _, share, _ in answers] for _, answers in example.views]
        assert all(view == sorted(view, reverse=True) and sum(view) <= 100.001 for view in shares)


def test_a_dataset_of_bare_images_still_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(png(i, 8, 8))
    source = {"op": "read.images", "path": str(tmp_path / "in")}
    result = run({"name": "bare", "out": str(tmp_path / "out"), "source": source})
    write_report(result.dataset, result.counts, None, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert len(page.images()) == 3 and all(image["class"] == " tiny" for image in page.images())
    assert "3 images, every one kept." in " ".join(page.text.split())
    assert "teachers said" not in page.text and "name: bare" in page.text


def test_large_images_are_shrunk_and_small_ones_keep_their_pixels(hostile: Dataset, small: Dataset) -> None:
    assert not any(picture.pixelated for group in gallery(hostile, {}) for picture in group.pictures)
    assert all(picture.pixelated for group in gallery(small, {}) for picture in group.pictures)


def test_gains_are_counted_from_hard_labels_in_points() -> None:
    assert deltas(evaluation())["hard labels"] == {"accuracy": 0, "ece": 0}
    assert deltas(evaluation())["reinforced"]["accuracy"] == pytest.approx(9)
    assert deltas(evaluation())["reinforced"]["ece"] == pytest.approx(-7)


def test_calibration_dots_lie_at_confidence_and_share_of_right_answers() -> None:
    (x, y, radius), *others = diagrams(evaluation())[0]["points"]
    assert (x, y) == (75, 50) and radius == pytest.approx(10.5) and not others


def under_corruptions(arm: dict[str, Any], fog: float) -> dict[str, Any]:
    each = [
        {"corruption": name, "severity": severity, "accuracy": [accuracy, accuracy + 0.1], "ece": [0.2, 0.2]}
        for name, severity, accuracy in (("fog", 1, fog), ("fog", 5, fog - 0.2), ("zoom_blur", 1, 0.8))
    ]
    return arm | {"corrupted": {"accuracy": [0.7, 0.8], "ece": [0.21, 0.23], "each": each}}


def test_accuracy_under_each_corruption_is_shown_and_the_mean_of_all(small: Dataset) -> None:
    found = evaluation()
    found["teacher"] = {"accuracy": [0.99], "ece": [0.01], "nll": [0.1], "reliability": found["arms"][0]["reliability"]}
    found["teachers"] = [found["teacher"] | {"arm": "0: one of them"}]
    assert "under corruption" not in Page(render_report(small, FUNNEL, found)).text
    found["arms"] = [under_corruptions(arm, fog) for arm, fog in zip(found["arms"], (0.5, 0.6), strict=True)]
    found["teacher"] = under_corruptions(found["teacher"], 0.8)
    text = " ".join(Page(render_report(small, FUNNEL, found)).text.split())
    assert "fog45.055.075.0" in text and "zoom blur85.085.085.0" in text
    assert "mean75.0 ± 7.1" in text and "calibration error, mean22.0 ± 1.4" in text
    assert "teacher 0: one of them99.0" in text


def test_the_student_table_carries_numbers_and_what_the_teachers_saw(small: Dataset) -> None:
    text = " ".join(Page(render_report(small, FUNNEL, evaluation())).text.split())
    assert "94.0 ± 1.4+9.0" in text and "−7.0" in text
    assert f"the teachers saw {HOSTILE}" in text
