"""The example reader, which has nothing but pyarrow, against the package's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reinforced_dataset import write_dataset

from reinforced.epoch import EpochReader

EXAMPLE = Path(__file__).parents[1] / "examples" / "read_reinforced.py"


def test_a_reader_with_nothing_but_pyarrow_finds_the_same_probabilities(tmp_path: Path) -> None:
    dataset = str(write_dataset(tmp_path / "small", rows=[4]))
    reader = EpochReader(dataset, shuffle=False)
    sample = list(reader.samples(1))[2]
    command = [sys.executable, "-I", str(EXAMPLE), dataset, "00000", str(reader.draw(0, 1)), "2"]
    lines = dict(
        line.split(": ", 1)
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    )
    assert lines["key"] == "0/2"
    expected = dict(zip(sample.classes.tolist(), sample.probabilities.tolist(), strict=True))
    found = {int(k): float(v) for k, v in (pair.split(": ") for pair in lines["probabilities"].strip("{}").split(", "))}
    assert found == pytest.approx(expected, abs=1e-6)
    assert list(found) == list(expected)
    assert float(lines["tail"]) == pytest.approx(float(np.float64(sample.tail)), abs=1e-6)


def test_the_example_stays_within_forty_lines_and_pyarrow() -> None:
    source = EXAMPLE.read_text()
    assert len(source.splitlines()) <= 40
    assert {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))} == {
        "__future__", "json", "sys", "pathlib", "typing", "pyarrow",
    }  # fmt: skip
