"""Writes reinforcements as other projects publish them, and a small dataset that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photos import make_photos

import reinforced

SIDE = 48
CLASSES = 12
RECIPE: dict[str, Any] = {
    "uint8": {"enable": True},
    "random_resized_crop": {"enable": True, "size": 32},
    "random_horizontal_flip": {"enable": True, "p": 0.5},
    "rand_augment": {"enable": True, "p": 1.0},
    "to_tensor": {"enable": True},
    "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "random_erase": {"enable": True, "p": 0.25},
    "mixup": {"enable": False, "alpha": 1.0},
}
PLAIN = {name: RECIPE[name] for name in ("uint8", "random_resized_crop", "random_horizontal_flip", "to_tensor")}
"""Without what is only approximated."""


def make_dataset(folder: Path, count: int = 12) -> str:
    """Build a dataset of photographs in two class folders; its paths in order of ImageFolder are those of `paths`."""
    make_photos(folder / "photos", count, SIDE)
    source = {"op": "read.images", "path": str(folder / "photos"), "shard_rows": 5}
    return reinforced.run({"name": "photos", "out": str(folder / "data"), "source": source}).path


def paths(folder: Path) -> list[str]:
    """Return the images' paths in the order of torchvision's ImageFolder."""
    from torchvision.datasets import ImageFolder

    return [str(Path(path).relative_to(folder / "photos")) for path, _ in ImageFolder(folder / "photos").samples]


def distribution(seed: int, top_k: int) -> tuple[list[float], list[int]]:
    """Return some probabilities and their classes as ml-dr's argpartition leaves them: in no order, float32."""
    dense = np.random.default_rng(seed).dirichlet(np.full(CLASSES, 0.3)).astype(np.float32)
    ids = np.argpartition(dense, -top_k)[-top_k:]
    return dense[ids].tolist(), ids.tolist()


def operation(random: np.random.Generator, side: int) -> tuple[int, float]:
    """Return an operation and its strength at magnitude 9 of 30, as torchvision's RandAugment would pass it on."""
    number = int(random.integers(14))
    shift = float(np.float32(np.linspace(0, 150 / 331 * side, 31)[9]))
    strength = [0, 0.09, 0.09, shift, shift, 9.0, 0.27, 0.27, 0.27, 0.27, 7.0, 178.5, 0.0, 0.0][number]
    return number, -strength if 1 <= number <= 9 and random.integers(2) else strength


def parameters(recipe: dict[str, Any], seed: int) -> list[Any]:
    """Return one reinforcement's positional list: no entry for transforms without parameters."""
    random = np.random.default_rng(seed)
    high, wide = (int(side) for side in random.integers(10, SIDE, 2))
    made: dict[str, Any] = {
        "random_resized_crop": (int(random.integers(SIDE - high)), int(random.integers(SIDE - wide)), high, wide),
        "random_horizontal_flip": bool(random.integers(2)),
        "rand_augment": [operation(random, 32) for _ in range(2)],
        "random_erase": (3, 5, 8, 6) if random.integers(2) else None,
    }
    enabled = [name for name, settings in recipe.items() if settings.get("enable", True)]
    return [made[name] for name in made if name in enabled]


def write_ml_dr(
    folder: Path, count: int, draws: int = 3, top_k: int = 4, recipe: dict[str, Any] = RECIPE, first_seed: int = 0
) -> list[list[dict[str, Any]]]:
    """Write `{index}.pth.tar` and `config.pth.tar` as ml-dr's reinforce.py does; returns what each file holds."""
    folder.mkdir(parents=True)
    made = {"num_samples": draws, "topk": top_k, "compress": True, "joblib": False, "image_augmentation": recipe}
    torch.save(
        {"num_classes": CLASSES, "teacher": {"name": "a,b"}, "seed": None, "reinforce": made}, folder / "config.pth.tar"
    )
    everything = []
    for index in range(count):
        seeds = [first_seed + 100 * index + draw for draw in range(draws)]
        entries = [{"params": parameters(recipe, seed), "prob": distribution(seed, top_k)} for seed in seeds]
        torch.save((index, entries), folder / f"{index}.pth.tar", pickle_protocol=4)
        everything.append(entries)
    return everything


def write_tinyvit(
    folder: Path, keys: Sequence[str], epochs: int = 3, top_k: int = 4
) -> dict[tuple[int, str], tuple[int, np.ndarray, np.ndarray]]:
    """Write epochs of two ranks, in another order of keys each; returns seed, classes and probabilities of each."""
    found = {}
    for epoch in range(epochs):
        random = np.random.default_rng(epoch)
        order = random.permutation(len(keys))
        for rank in range(2):
            place = folder / f"logits_top{top_k}_epoch{epoch}"
            place.mkdir(parents=True, exist_ok=True)
            with (
                (place / f"rank{rank}-keys.txt").open("w") as names,
                (place / f"rank{rank}-values.bin").open("wb") as out,
            ):
                for i in order[rank::2]:
                    dense = torch.tensor(random.dirichlet(np.full(CLASSES, 0.3)))
                    values, classes = dense.topk(top_k)
                    seed = np.int32(random.integers(2**31))
                    p, c = values.to(torch.float16).numpy(), classes.to(torch.int16).numpy()
                    out.write(seed.tobytes() + c.tobytes() + p.tobytes())
                    names.write(keys[i] + "\n")
                    found[epoch, keys[i]] = int(seed), c, p
    return found


def write_fkd(folder: Path, names: Sequence[str], crops: int = 3, kind: str = "k5") -> dict[str, list[np.ndarray]]:
    """Write `CLASS/NAME.tar` with [relative crops, flips, labels] as FKD's generate_soft_label.py does."""
    found = {}
    for number, name in enumerate(names):
        random = np.random.default_rng(number)
        sides = random.integers(8, SIDE, (crops, 2))
        corner = (random.random((crops, 2)) * (SIDE - sides + 1)).astype(int)
        boxes = torch.FloatTensor(np.concatenate([corner, sides], axis=1) / SIDE)
        dense = torch.tensor(random.dirichlet(np.full(CLASSES, 0.3), crops), dtype=torch.float32)
        values, classes = dense.topk(5)
        labels = {"k5": torch.stack([classes.float(), values], 1), "hard": classes[:, 0]}
        labels["smoothing"] = labels["k5"][:, :, 0]
        state = [boxes.numpy(), random.integers(0, 2, crops).astype(bool), labels[kind].numpy()]
        target = folder / f"{name}.tar"
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, target)
        found[name] = state
    return found
