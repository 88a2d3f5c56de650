from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from standard_table import standard_table

from reinforced.run import run


def written(folder: Path, form: str) -> Path:
    table = standard_table().slice(3, 3).select(["key", "image"])
    more: dict[str, Any] = {
        "author": ["Ann", "B [c](http://evil.example)", None],
        "title": ["Boats, at *noon*", None, "x"],
        "url": ["https://example.org/1", "javascript:alert(1)", None],
        "license": ["http://creativecommons.org/licenses/by/2.0/", "CC BY-SA 4.0", "mine"],
    }
    for name, values in more.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    (folder / "tables").mkdir()
    pq.write_table(table, folder / "tables/a.parquet")
    sink = {"op": "write.attribution", "path": str(folder / "credits"), "format": form}
    source = {"op": "read.parquet", "path": str(folder / "tables")}
    run({"name": "a", "out": str(folder / "a"), "source": source, "steps": [], "sinks": [sink]}, workers=1)
    return next((folder / "credits").iterdir())


def test_every_image_has_its_author_and_licence_in_the_table(tmp_path: Path) -> None:
    with written(tmp_path, "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["license"] for row in rows] == ["CC BY 2.0", "CC BY-SA 4.0", "mine"]
    assert rows[0]["title"] == "Boats, at *noon*" and rows[0]["author"] == "Ann"
    by_sa = "https://creativecommons.org/licenses/by-sa/4.0/"
    assert [row["license_url"] for row in rows] == ["https://creativecommons.org/licenses/by/2.0/", by_sa, ""]


def test_json_tells_nothing_from_empty(tmp_path: Path) -> None:
    rows = json.loads(written(tmp_path, "json").read_text())
    assert rows[2]["author"] is None and rows[1]["key"] == "image/04"


def test_no_title_or_name_becomes_markup_or_another_link(tmp_path: Path) -> None:
    lines = written(tmp_path, "markdown").read_text().splitlines()[2:]
    assert lines[0].startswith(r"- [Boats, at \*noon\*](https://example.org/1) by Ann, [CC BY 2.0](https://creative")
    assert "](http://evil" not in lines[1] and "javascript" not in lines[1]
