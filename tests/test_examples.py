"""The examples of other methods train on what they store: each loss falls."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reinforced.sample import Sample
from reinforced.view_reader import View

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def trained(name: str, folder: Path, steps: int, **chosen: Any) -> tuple[float, float]:
    """Return the mean loss of the first five and the last five steps."""
    losses: Sequence[float] = example(name)["main"](str(folder / name), steps, **chosen)
    assert len(losses) == steps
    return float(np.mean(losses[:5])), float(np.mean(losses[-5:]))


@pytest.mark.slow
@pytest.mark.parametrize("masks", ["simmim", "sit"])
def test_hidden_patches_are_painted_better(masks: str, tmp_path: Path) -> None:
    before, after = trained("simmim", tmp_path, 30, masks=masks)
    assert after < 0.8 * before


@pytest.mark.slow
def test_the_right_patch_is_picked_more_often(tmp_path: Path) -> None:
    before, after = trained("selfie", tmp_path, 40)
    assert after < 0.9 * before


@pytest.mark.slow
def test_clusters_of_crops_are_predicted_better_than_by_chance(tmp_path: Path) -> None:
    before, after = trained("swav", tmp_path, 30)
    assert after < min(before, np.log(example("swav")["PROTOTYPES"]))


def test_cells_of_the_same_place_grow_alike(tmp_path: Path) -> None:
    before, after = trained("pixpro", tmp_path, 24)
    assert after < before - 0.1


@pytest.mark.slow
def test_classes_above_the_threshold_are_learned_from_masked_views(tmp_path: Path) -> None:
    before, after = trained("multi_label", tmp_path, 40)
    assert after < 0.9 * before


@pytest.mark.slow
def test_a_student_points_where_its_teacher_does(tmp_path: Path) -> None:
    before, after = trained("teacher_features", tmp_path, 30)
    assert after < 0.7 * before


@pytest.mark.parametrize("mask", ["simmim_mask", "sit_mask"])
def test_masks_follow_from_key_and_epoch_alone(mask: str) -> None:
    made = example("simmim")[mask]
    both, epochs = made(0, ["a", "b"], 3), [made(0, ["b"], epoch) for epoch in (3, 4)]
    assert torch.equal(both[1:], epochs[0]) and not torch.equal(*epochs)
    assert (both.sum(dim=1) >= 8).all() and (both.sum(dim=1) < 16).all()


def view(x: int, y: int, width: int, height: int, flip: bool) -> View:
    empty = np.zeros(0, np.uint16)
    sample = Sample(np.zeros((32, 32, 3), np.uint8), empty, empty.astype(np.float32), np.float32(0), -1)
    box = {"crop_x": x, "crop_y": y, "crop_width": width, "crop_height": height}
    return View(sample, "reinforced", box | {"flip": flip})


def test_a_flipped_view_pairs_each_cell_with_its_mirror_image() -> None:
    pixpro = example("pixpro")
    grid = pixpro["GRID"]
    pairs = pixpro["positives"]([view(8, 0, 64, 64, False)], [view(8, 0, 64, 64, True)])[0]
    mirrored = torch.arange(grid**2).reshape(grid, grid).flip(1).flatten()
    assert pairs[torch.arange(grid**2), mirrored].all()
    assert pairs.sum() == grid**2, "neighbours lie 8 px apart, 0.7 of a diagonal is 7.9 px"


def test_views_that_do_not_meet_have_no_pairs() -> None:
    made = example("pixpro")["positives"]([view(0, 0, 32, 32, False)], [view(64, 64, 32, 32, False)])
    assert not made.any()
