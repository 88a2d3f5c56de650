from __future__ import annotations

from pathlib import Path

import pytest
from reinforced_dataset import write_dataset


def test_the_numpy_example_learns_what_the_teachers_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    from train_numpy import train

    losses = train(str(write_dataset(tmp_path / "small")), epochs=4)
    assert losses[-1] < losses[0]
