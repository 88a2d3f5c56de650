"""`read.coco`: its checks and its way back from `write.coco` are in `test_write_coco.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reinforced.errors import RequestError
from reinforced.operators.read.coco import ReadCoco


def test_what_is_no_coco_file_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(RequestError, match="'categories' is missing"):
        ReadCoco(path=str(tmp_path), annotations=str(tmp_path / "a.json")).columns()
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(RequestError, match=r"a.json': Expecting value"):
        ReadCoco(path=str(tmp_path), annotations=str(tmp_path / "a.json")).columns()
    with pytest.raises(RequestError, match=r"no file .json at|does not exist"):
        ReadCoco(path=str(tmp_path), annotations=str(tmp_path / "b.json")).columns()
