from collections.abc import Sequence

import numpy as np
import pytest

from reinforced.corruption import corrupt
from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.metrics import Floats
from reinforced.scoring import HeldOut, score, score_teachers
from reinforced.teachers import parse_teacher


class Brightness:
    """Calls an image bright (class 1) by its mean alone: a corruption that darkens or lightens fools it."""

    def __init__(self, limit: float = 128) -> None:
        self.limit = limit

    def probabilities(self, pixels: Pixels) -> Floats:
        bright = np.where(pixels.mean(axis=(1, 2, 3)) > self.limit, 0.9, 0.1)
        return np.stack([1 - bright, bright], axis=1)


def halves(count: int = 20, **corrupted: object) -> HeldOut:
    """Half the images dark, half bright, 60 grey levels from the limit."""
    labels = np.arange(count) % 2
    pixels = np.random.default_rng(0).integers(60, 76, (count, 8, 8, 3)) + 120 * labels[:, None, None, None]
    return HeldOut(pixels.astype(np.uint8), labels, [f"image/{i}" for i in range(count)], **corrupted)  # type: ignore[arg-type]


def test_without_corruptions_nothing_is_said_of_them() -> None:
    (result,) = score({"one": [Brightness(), Brightness(20)]}, halves())
    assert result["accuracy"] == [1.0, 0.5]
    assert sum(b["count"] for b in result["reliability"]) == 40
    assert "corrupted" not in result


def test_the_score_under_corruptions_is_the_mean_of_every_corruption_and_severity() -> None:
    held_out = halves(corruptions=("brightness", "gaussian_noise"), severities=(1, 5))
    (result,) = score({"one": [Brightness(), Brightness(150)]}, held_out)
    each = {(row["corruption"], row["severity"]): row["accuracy"] for row in result["corrupted"]["each"]}
    assert list(each) == [("brightness", 1), ("brightness", 5), ("gaussian_noise", 1), ("gaussian_noise", 5)]
    assert each["brightness", 5] == [0.5, 1.0]  # 68 + 0.3 * 255 levels: lighter than the limit of the first alone
    assert each["gaussian_noise", 5] == [1.0, 1.0]
    np.testing.assert_allclose(result["corrupted"]["accuracy"], np.mean(list(each.values()), axis=0))


def test_images_are_corrupted_as_the_operator_does_it() -> None:
    held_out = halves(4, corruptions=("impulse_noise",), severities=(3,), seed=7)
    ((name, severity, pixels),) = held_out.corrupted()
    assert (name, severity) == ("impulse_noise", 3)
    for found, image, key in zip(pixels, held_out.pixels, held_out.keys, strict=True):
        np.testing.assert_array_equal(found, corrupt(image, name, severity, key=key, seed=7))


def test_a_test_label_that_nobody_predicts_is_named_with_the_arm() -> None:
    held_out = HeldOut(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2]), ["a", "b"])
    with pytest.raises(RequestError, match="hard labels: 2 classes are predicted, the test images have labels 0 to 2"):
        score({"hard labels": [Brightness()]}, held_out)


def test_teachers_are_scored_as_the_layer_combined_them_and_each_alone() -> None:
    digits = [
        {
            "factory": "reinforced.models.mlp",
            "arguments": {"inputs": 192, "hidden": hidden},
            "weights": f"package:weights/digits_{i}.safetensors",
        }
        for i, hidden in enumerate((96, 128))
    ]
    teachers = [parse_teacher(digit) for digit in digits]
    nll = {c: _losses(score_teachers(teachers, c, halves())) for c in ("mean", "most_confident")}  # type: ignore[arg-type]
    assert len(nll["mean"]) == 3
    assert nll["mean"][1:] == nll["most_confident"][1:] and nll["mean"][0] != nll["most_confident"][0]
    assert score_teachers([], "mean", halves()) == [None]
    assert len(score_teachers(teachers[:1], "mean", halves())) == 1


def _losses(results: Sequence[object]) -> list[float]:
    return [result["nll"][0] for result in results]  # type: ignore[index]
