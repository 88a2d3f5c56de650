"""Train a small CLIP on what a larger one says of stored views and captions (Vasu et al. 2024, *MobileCLIP*).

python examples/datacomp_dr.py [folder]

A CLIP teacher is trained on digits and their names in a minute. Its embeddings of views, captions and synthetic
captions of 300 other digits are stored once; students then learn from them with and without the teacher.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader

import reinforced
from reinforced.clip_loss import ClipDistillationLoss, ClipEmbeddings
from reinforced.clip_stream import ClipStream
from reinforced.images import decode
from reinforced.operators.read.digits import NAMES, ReadDigits

TEMPLATES = ("the digit {}", "a handwritten {}", "a scan that shows a {}", "someone wrote {}")
TEACHER = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 8, "layers": 2, "width": 64, "head_width": 16, "patch_size": 2},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.33] * 3, "std": [0.35] * 3, "size": 8},
}
BATCH, DRAWS = 50, 10


def digits(split: str) -> pa.Table:
    """Return the keys, images and labels of a split."""
    source = ReadDigits()
    table = pa.concat_tables([source.read(shard) for shard in source.shards()])
    return table.filter(pa.compute.equal(table.column("split"), split)).select(["key", "image", "label"])


def floats(table: pa.Table) -> tuple[Tensor, Tensor]:
    """Return images as float32 (n, 3, 8, 8), about normalized, and their labels."""
    images = np.stack([decode(image) for image in table.column("image").to_pylist()])
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.33) / 0.35, torch.tensor(table["label"].to_pylist())


def cropped(images: Tensor) -> Tensor:
    """Return random crops, of 0.6 to 1 of the area: a teacher that never saw crops knows nothing of stored views."""
    sides = torch.empty(len(images), 2, 1).uniform_(0.6**0.5, 1)
    places = (1 - sides) * torch.empty(len(images), 2, 1).uniform_(-1, 1)
    boxes = torch.cat([torch.diag_embed(sides[..., 0]), places], dim=2)
    grid = torch.nn.functional.affine_grid(boxes, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train_teacher(folder: Path, steps: int) -> None:
    """Train a CLIP model to match digits with their names and save it as open_clip does."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TEACHER))
    torch.manual_seed(0)
    model: Any = open_clip.CLIP(**TEACHER["model_cfg"])
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    names = [tokenizer([template.format(name) for name in NAMES]) for template in TEMPLATES]
    images, labels = floats(digits("train"))
    learned = [weight for name, weight in model.named_parameters() if name != "token_embedding.weight"]  # 99 % of them
    optimizer = torch.optim.AdamW(learned, lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(images), (64,))
        seen = model.encode_image(cropped(images[rows]), normalize=True)
        said = model.encode_text(names[step % len(names)], normalize=True)
        loss = cross_entropy(model.logit_scale.exp() * seen @ said.T, labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def build(folder: Path) -> str:
    """Reinforce the calibration split, captioned by the first template, with the others as synthetic captions."""
    table = digits("calibration")
    captions = [[t.format(NAMES[label]) for t in TEMPLATES] for label in table.column("label").to_pylist()]
    table = table.append_column("caption", pa.array([own for own, *_ in captions]))
    table = table.append_column("captions", pa.array([made for _, *made in captions]))
    pq.write_table(table, folder / "pairs.parquet")
    crop = {"size_px": 8, "random_resized_crop": {"scale": [0.6, 1.0]}}
    asked: dict[str, Any] = {"teachers": [{"open_clip": str(folder / "teacher")}]}
    steps = [
        {"op": "reinforce_clip", "draws": DRAWS, "augment": crop, **asked},
        {"op": "embed.captions", "draws": len(TEMPLATES), **asked},
    ]
    source = {"op": "read.parquet", "path": str(folder / "pairs.parquet")}
    return reinforced.run({"name": "dr", "out": str(folder / "data"), "source": source, "steps": steps}).path


class Student(nn.Module):
    """A network of two layers for images, and the mean of its words' vectors for a text."""

    def __init__(self) -> None:
        super().__init__()
        self.words = sorted({word for t in TEMPLATES for name in NAMES for word in t.format(name).split()})
        self.see = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 32))
        self.read = nn.EmbeddingBag(len(self.words), 32)
        self.logit_scale = nn.Parameter(torch.tensor(2.7))

    def images(self, images: Tensor) -> Tensor:
        """Embed normalized images: (n, 32) of unit length."""
        return normalize(self.see(images), dim=1)

    def texts(self, texts: list[str]) -> Tensor:
        """Embed texts: (n, 32) of unit length."""
        numbers = [[self.words.index(word) for word in text.split()] for text in texts]
        starts = np.cumsum([0, *map(len, numbers[:-1])])
        return normalize(self.read(torch.tensor(list(chain.from_iterable(numbers))), torch.from_numpy(starts)), dim=1)


def train_student(path: str, steps: int, weight: float, seed: int) -> Student:
    """Train a student with this weight of the teacher."""
    stream = ClipStream(path, seed=seed)
    document = stream.reader.teachers
    loss_of = ClipDistillationLoss(document.dimensions, document.logit_scales, weight)
    torch.manual_seed(seed)
    student = Student()
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    done = epoch = 0
    while done < steps:
        stream.set_epoch(epoch)
        for batch in DataLoader(stream, BATCH):
            texts = [student.texts(batch.caption), student.texts(batch.synthetic)]
            said = ClipEmbeddings(student.images((batch.image / 255 - 0.33) / 0.35), *texts)
            loss = loss_of(said, student.logit_scale.exp(), batch.teachers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
        epoch += 1
    return student


def accuracy(student: Student) -> float:
    """Return the share of the test split whose nearest name is its own."""
    images, labels = floats(digits("test"))
    with torch.inference_mode():
        found = student.images(images) @ student.texts([TEMPLATES[0].format(name) for name in NAMES]).T
    return float((found.argmax(dim=1) == labels).float().mean())


def main(folder: str, steps: int = 120, teacher_steps: int = 200, seeds: int = 3) -> dict[float, list[float]]:
    """Return the accuracies of students, one a seed, for each weight of the teacher."""
    place = Path(folder)
    train_teacher(place / "teacher", teacher_steps)
    path = build(place)
    weights = (0.0, 0.75, 1.0)
    return {w: [accuracy(train_student(path, steps, w, seed)) for seed in range(seeds)] for w in weights}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = main(sys.argv[1] if len(sys.argv) > 1 else temporary)
    for weight, each in found.items():
        print(
            f"weight {weight}: accuracy {100 * np.mean(each):.1f} %, seeds {', '.join(f'{100 * a:.1f}' for a in each)}"
        )
