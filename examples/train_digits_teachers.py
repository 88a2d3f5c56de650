"""Train the three teachers of the quickstart and write their weights: python examples/train_digits_teachers.py.

They learn from the train split alone: every image as it is and under three augmentations of the quickstart's kind, with
noise on the input, which keeps them unsure where they have seen little. That doubt is what a student learns from:
teachers drilled until they were certain of every view were as accurate and taught less. One temperature for the
ensemble is fitted on the calibration split; the test split only measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.metrics import accuracy, expected_calibration_error, negative_log_likelihood
from reinforced.models import mlp
from reinforced.operators.read.digits import ReadDigits

AUGMENT: dict[str, Any] = {
    "size_px": 8,
    "random_resized_crop": {"scale": [0.6, 1.0]},
    "rand_augment": {"operations": 1, "magnitude": 6},
}
VIEWS, SEED = 3, 1  # the quickstart draws with another seed: its stored views are new to the teachers
HIDDEN = (96, 128, 160)
STEPS, BATCH_SIZE, NOISE = 800, 128, 0.3


def digits(split: str) -> tuple[list[str], list[Pixels], np.ndarray[Any, Any]]:
    """Return the keys, decoded images and labels of a split."""
    source = ReadDigits()
    table = pa.concat_tables(source.read(shard) for shard in source.shards())
    batch = Batch(table.filter(pa.array([s == split for s in table["split"].to_pylist()])))
    return batch.keys, batch.pixels, np.array(batch.values("label"))


def training_images() -> tuple[Pixels, np.ndarray[Any, Any]]:
    """Return the images of the train split as they are, then VIEWS augmentations of each, with their labels."""
    keys, images, labels = digits("train")
    augment, sides = Augment.model_validate(AUGMENT), [8] * len(images)
    drawn = augment.parameters(SEED, keys, range(VIEWS), sides, sides)
    views = [
        augment.apply(image, {name: values[i * VIEWS + draw] for name, values in drawn.items()})
        for i, image in enumerate(images)
        for draw in range(VIEWS)
    ]
    return np.stack([*images, *views]), np.concatenate([labels, np.repeat(labels, VIEWS)])


def train(inputs: Tensor, labels: Tensor, hidden: int, seed: int) -> nn.Module:
    """Train one teacher with AdamW and a one-cycle learning rate; grey noise is the same in the three channels."""
    torch.manual_seed(seed)
    model = mlp(inputs[0].numel(), hidden)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(inputs), (BATCH_SIZE,))
        noisy = inputs[batch] + NOISE * torch.randn(BATCH_SIZE, 1, *inputs.shape[2:])
        loss = nn.functional.cross_entropy(model(noisy), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    return model.eval()


@torch.inference_mode()
def probabilities(models: list[nn.Module], inputs: Tensor, temperature: float) -> np.ndarray[Any, Any]:
    """Return the mean of the models' probabilities at a temperature."""
    return torch.stack([(model(inputs) / temperature).softmax(1) for model in models]).mean(0).numpy()


def main() -> None:
    """Train, calibrate, measure, write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src" / "reinforced" / "weights")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)

    images, labels = training_images()
    mean, std = round(float(images.mean()) / 255, 3), round(float(images.std()) / 255, 3)

    def prepared(pixels: Pixels) -> Tensor:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)

    models = []
    for seed, hidden in enumerate(HIDDEN):
        models.append(train(prepared(images), torch.from_numpy(labels), hidden, seed))
        save_file(models[-1].state_dict(), out / f"digits_{seed}.safetensors")

    _, calibration, wanted = digits("calibration")
    inputs = prepared(np.stack(calibration))
    temperature = min(
        np.arange(0.05, 3, 0.05).round(2),
        key=lambda t: negative_log_likelihood(probabilities(models, inputs, float(t)), wanted),
    )
    _, test, truth = digits("test")
    print(f"mean {mean} std {std} temperature {temperature}")
    for name, group in [*((f"digits_{i}", [model]) for i, model in enumerate(models)), ("ensemble", models)]:
        found = probabilities(group, prepared(np.stack(test)), float(temperature))
        right, error = accuracy(found, truth), expected_calibration_error(found, truth)
        print(f"{name}: test accuracy {right:.1%}, expected calibration error {error:.1%}")


if __name__ == "__main__":
    main()
