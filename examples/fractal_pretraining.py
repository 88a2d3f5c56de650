"""Does pretraining on fractals help where images are few? python examples/fractal_pretraining.py (about five minutes).

A small network learns to tell 1,000 fractals apart, rendered while it trains. Then it and a copy with fresh weights
each learn the digits of scikit-learn from ten images a class, with the same images, steps and rates; five seeds choose
images, order and first weights. The test images are those that no seed trains on.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reinforced.loader import FractalDataset

SIDE, CLASSES, INSTANCES = 16, 1000, 120
PRETRAINING_EPOCHS, BATCH = 1, 128
SHOTS, STEPS, SEEDS = 10, 150, 5


def network(classes: int) -> nn.Sequential:
    """Return a convolutional network for grey images of 16 px, about 90,000 weights without the last layer."""
    layers: list[nn.Module] = []
    for inside, outside in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4, classes))


def prepared(images: Tensor) -> Tensor:
    """Return grey uint8 or float images (n, 1, 16, 16) in 0..255 as the network takes them."""
    return images.float().div(255).sub(0.25).div(0.3)


def pretrain(epochs: int, workers: int) -> nn.Sequential:
    """Train on fractals that no disk ever holds; each epoch sees new instances of the same classes."""
    torch.manual_seed(0)
    model = network(CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    fractals = FractalDataset(
        classes=CLASSES, instances=INSTANCES * epochs, size_px=SIDE, points=2000, colour=False, background=False
    )
    loader = DataLoader(fractals, BATCH, shuffle=True, num_workers=workers)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, len(loader))
    for step, (images, labels) in enumerate(loader):
        loss = nn.functional.cross_entropy(model(prepared(images[:, :1])), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            print(f"step {step} of {len(loader)}: loss {loss.item():.2f}", flush=True)
    return model


def digits() -> tuple[Tensor, Tensor]:
    """Return the digits enlarged to 16 px, (1797, 1, 16, 16) in 0..255, and their classes."""
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] * (255 / 16)
    return nn.functional.interpolate(images, SIDE, mode="bilinear"), torch.from_numpy(found.target)


def fine_tune(pretrained: nn.Sequential | None, seed: int, shots: int, steps: int) -> float:
    """Train on `shots` digits a class, chosen by the seed, and return the accuracy on all others."""
    torch.manual_seed(seed)
    model = network(10)
    if pretrained:
        model[:-1].load_state_dict(pretrained[:-1].state_dict())
    images, labels = digits()
    chooser = np.random.default_rng(seed)
    chosen = np.concatenate([chooser.choice(np.flatnonzero(labels == c), shots, replace=False) for c in range(10)])
    inputs, wanted = prepared(images[chosen]), labels[chosen]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, steps)
    for _ in range(steps):
        batch = torch.randint(len(inputs), (50,))
        loss = nn.functional.cross_entropy(model(inputs[batch]), wanted[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    with torch.inference_mode():
        found = model.eval()(prepared(images[rest])).argmax(1)
    return float((found == labels[rest]).float().mean())


def main() -> None:
    """Pretrain, fine-tune, compare."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--epochs", type=int, default=PRETRAINING_EPOCHS, help=f"{INSTANCES} pictures a class each")
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--shots", type=int, default=SHOTS, help="digits a class to fine-tune on")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of fine-tuning")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    pretrained = pretrain(given.epochs, given.workers)
    print(f"pretrained in {time.perf_counter() - start:.0f} s")
    for name, weights in (("from scratch", None), ("pretrained on fractals", pretrained)):
        scores = [fine_tune(weights, seed, given.shots, given.steps) for seed in range(SEEDS)]
        said = ", ".join(f"{score:.1%}" for score in scores)
        print(f"{name}: {np.mean(scores):.1%} of {1797 - 10 * given.shots:,} test digits ({said})")


if __name__ == "__main__":
    main()
