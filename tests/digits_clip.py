"""A small CLIP model, trained here on handwritten digits and their names: real enough that matching can be right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("the digit {}", "a handwritten {}", "a scan that shows a {}", "said about: the digit {}, a number")
SIDE = 8
"""Of images and of patches, in px: with one patch the image tower learns these few images in seconds."""

CONFIGURATION = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 16, "patch_size": SIDE},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.33, 0.33, 0.33], "std": [0.35, 0.35, 0.35], "size": SIDE},
}


def train(folder: Path, steps: int = 300) -> None:
    """Train on the train split of `read.digits` and save the model as open_clip does."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIGURATION))
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIGURATION["model_cfg"])
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    images, labels = digits("train")
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.33) / 0.35
    names = torch.stack([tokenizer([template.format(name) for name in NAMES]) for template in TEMPLATES])
    target = torch.from_numpy(labels)
    learned = [weight for name, weight in model.named_parameters() if name != "token_embedding.weight"]  # 99 % of them
    optimizer = torch.optim.AdamW(learned, lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(pixels), (128,))
        seen = model.encode_image(pixels[rows] + 0.1 * torch.randn(128, 3, SIDE, SIDE), normalize=True)
        said = model.encode_text(names[step % len(TEMPLATES)], normalize=True)
        loss = torch.nn.functional.cross_entropy(20 * seen @ said.T, target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 (n, 8, 8, 3), and labels of a split of `read.digits`."""
    from reinforced.images import decode
    from reinforced.operators.read.digits import ReadDigits

    source = ReadDigits()
    rows = [row for shard in source.shards() for row in source.read(shard).to_pylist() if row["split"] == split]
    return np.stack([decode(row["image"]) for row in rows]), np.array([row["label"] for row in rows])
