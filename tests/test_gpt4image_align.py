"""The example that trains with captions, on digits and the vectors of their names."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import torch

import reinforced

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "gpt4image_align.py"))


def test_the_contrast_is_least_when_each_image_is_at_its_own_text() -> None:
    texts = torch.eye(4)
    right, wrong = EXAMPLE["info_nce"](texts, texts, 0.2), EXAMPLE["info_nce"](texts, texts.roll(1, 0), 0.2)
    assert math.isclose(right.item(), math.log(math.exp(5) + 3) - 5, rel_tol=1e-4)
    assert math.isclose(wrong.item(), math.log(math.exp(5) + 3), rel_tol=1e-4)


def test_both_losses_fall_on_digits_and_their_names(digits_clip: Path, tmp_path: Path) -> None:
    step = {"op": "embed.text", "source": "label_name", "model": {"open_clip": str(digits_clip)}}
    spec = {"name": "named", "out": str(tmp_path / "out"), "source": {"op": "read.digits"}, "steps": [step]}
    losses = np.array(EXAMPLE["main"](reinforced.run(spec, workers=1).path, size_px=8, steps=60, batch=32))
    first, last = losses[:5].mean(axis=0), losses[-5:].mean(axis=0)
    assert last[0] < first[0] - 0.5 and last[1] < first[1] - 0.3
