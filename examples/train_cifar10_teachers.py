"""Train the teachers of cifar10-plus into a cache folder: python examples/train_cifar10_teachers.py --data FOLDER.

FOLDER has train.parquet and test.parquet with the columns key, image and label. The teachers learn from the train file
without a calibration split, 2,000 images chosen by the hashes of their keys, on which their temperature is fitted; the
test file only measures. About half an hour on two quiet CPU cores for each teacher; a run that was stopped goes on
from its last epoch. The recipe is that of Jordan 2024, *94% on CIFAR-10 in 3.29 Seconds on a Single GPU*: a whitening
first layer, SGD with Nesterov momentum and a triangular rate, labels smoothed by 0.2, mirroring in turns, crops
shifted by up to 2 px, and an average of the weights that is taken over every five steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reinforced.calibration import fit_temperature
from reinforced.counter import hash64
from reinforced.images import decode
from reinforced.metrics import accuracy, expected_calibration_error
from reinforced.models import whitened_cnn

CACHE = Path.home() / ".cache" / "reinforced-benchmarks" / "cifar10"
CALIBRATION_IMAGES = 2000
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH_SIZE, SHIFT_PX, SMOOTHING, MOMENTUM = 1024, 2, 0.2, 0.85
RATE, WEIGHT_DECAY, BIAS_FACTOR = 11.5, 0.0153, 64.0
"""Rate and decay of a thousand steps of one image each, decoupled from batch size and momentum."""
WHITEN_BIAS_EPOCHS, AVERAGE_EVERY = 3, 5


def read(file: Path) -> tuple[list[str], Tensor, Tensor]:
    """Return keys, uint8 images (N, 3, 32, 32) and labels of a file."""
    table = pq.read_table(file, columns=["key", "image", "label"])
    pixels = np.stack([decode(image.as_py()) for image in table["image"]])
    return (
        table["key"].to_pylist(),
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.tensor(table["label"].to_pylist()),
    )


def in_calibration(keys: list[str]) -> Tensor:
    """Return whether each sample of the train file is one of the CALIBRATION_IMAGES with the lowest key hashes."""
    chosen = set(sorted(keys, key=hash64)[:CALIBRATION_IMAGES])
    return torch.tensor([key in chosen for key in keys])


def normalized(images: Tensor) -> Tensor:
    """Scale uint8 images to 0..1 and normalize their channels."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def augmented(images: Tensor, mirrored: Tensor, generator: torch.Generator) -> Tensor:
    """Return normalized crops of images, reflected at the border, each shifted on its own; some are mirrored."""
    count, _, side, _ = images.shape
    padded = nn.functional.pad(normalized(images), (SHIFT_PX,) * 4, mode="reflect")
    top, left = torch.randint(2 * SHIFT_PX + 1, (2, count, 1), generator=generator)
    columns = torch.where(mirrored[:, None], torch.arange(side - 1, -1, -1), torch.arange(side)) + left
    rows = torch.arange(side) + top
    return padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )


def rate_at(progress: float) -> float:
    """Return the learning rate at a share of the training: from 0.2 up to 1 at 0.23 and down to 0.07 of the highest."""
    return float(np.interp(progress, [0, 0.23, 1], [0.2, 1, 0.07]))


def train(images: Tensor, labels: Tensor, epochs: int, seed: int, checkpoint: Path) -> nn.Module:
    """Train one teacher, or go on with it from its checkpoint; weights are averaged ever more slowly."""
    torch.manual_seed(seed)
    model = whitened_cnn()
    model.set_whitening(normalized(images[:5000]))
    scale = BATCH_SIZE * (1 + 1 / (1 - MOMENTUM))
    rate, decay = RATE / scale, WEIGHT_DECAY * BATCH_SIZE / scale
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    biases = [p for name, p in trained.items() if "stages" in name and "bias" in name]
    others = [p for name, p in trained.items() if not ("stages" in name and "bias" in name)]
    rates = [rate * BIAS_FACTOR, rate]
    groups = [{"params": p, "lr": r, "weight_decay": decay / r} for p, r in zip((biases, others), rates, strict=True)]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    steps, start = len(images) // BATCH_SIZE, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, start = saved["average"], saved["epoch"]
    first_mirrored = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5

    for epoch in range(start, epochs):
        began, total = time.perf_counter(), 0.0
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        model.whiten.bias.requires_grad_(epoch < WHITEN_BIAS_EPOCHS)  # type: ignore[union-attr]
        mirrored = first_mirrored ^ (epoch % 2 == 1)
        order = torch.randperm(len(images), generator=generator)[: steps * BATCH_SIZE]
        for step, batch in enumerate(order.view(steps, BATCH_SIZE), epoch * steps):
            for group, highest in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = highest * rate_at(step / (epochs * steps))
            found = model(augmented(images[batch], mirrored[batch], generator))
            loss = nn.functional.cross_entropy(found, labels[batch], label_smoothing=SMOOTHING, reduction="sum")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
            if step % AVERAGE_EVERY == AVERAGE_EVERY - 1:
                look_ahead(model, average, 0.95**5 * (step / (epochs * steps)) ** 3)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average,
            "epoch": epoch + 1,
        }
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        print(f"epoch {epoch + 1}: loss {total / len(order):.4f}, {time.perf_counter() - began:.0f} s", flush=True)
    model.load_state_dict(average)
    return model.eval()


@torch.no_grad()
def look_ahead(model: nn.Module, average: dict[str, Tensor], keep: float) -> None:
    """Move the average towards the model, keeping a share of it, and put the model there."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
            value.copy_(average[name])


@torch.inference_mode()
def logits(
    model: nn.Module, images: Tensor, mirrored: bool = False
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return logits of whole images, or the mean with those of their mirror images."""
    parts = []
    for part in torch.split(images, 500):
        inputs = normalized(part)
        parts.append((model(inputs) + model(inputs.flip(3))) / 2 if mirrored else model(inputs))
    return torch.cat(parts).numpy()


def softmax(
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]], temperature: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return probabilities at a temperature."""
    return torch.from_numpy(values).div(temperature).softmax(1).numpy()


def main() -> None:
    """Train, calibrate, measure, write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, default=CACHE)
    parser.add_argument("--teachers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    keys, images, labels = read(given.data / "train.parquet")
    held = in_calibration(keys)
    _, test, truth = read(given.data / "test.parquet")
    for seed in range(given.teachers):
        model = train(images[~held], labels[~held], given.epochs, seed, given.out / f"checkpoint_{seed}.pt")
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, given.out / f"teacher_{seed}.safetensors")
        wanted, calibration = labels[held].numpy(), logits(model, images[held])
        temperature = fit_temperature(calibration, wanted)
        print(
            f"teacher {seed}: temperature {temperature:.4g}, calibration accuracy {accuracy(calibration, wanted):.2%}"
        )
        for name, mirrored in (("", False), (" with its mirror image", True)):
            found = softmax(logits(model, test, mirrored), temperature)
            right, error = accuracy(found, truth.numpy()), expected_calibration_error(found, truth.numpy())
            print(f"  test{name}: accuracy {right:.2%}, expected calibration error {error:.2%}", flush=True)


if __name__ == "__main__":
    main()
