"""Train a linear classifier on a reinforced dataset in NumPy alone; JAX takes the same arrays as they are.

python examples/train_numpy.py data/digits-plus
"""

from __future__ import annotations

import sys

import numpy as np

from reinforced.epoch import EpochReader


def train(dataset: str, epochs: int = 5, rate: float = 0.5) -> list[float]:
    """Return the mean cross-entropy to the teachers' probabilities in each epoch."""
    reader = EpochReader(dataset)
    width, height = reader.reinforcement.augment.size
    weights = np.zeros((width * height * 3 + 1, reader.classes), np.float32)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for batch in reader.batches(epoch, batch_size=64):
            pixels = batch.pixels.reshape(len(batch.pixels), -1).astype(np.float32) / 255 - 0.5
            inputs = np.concatenate([pixels, np.ones((len(pixels), 1), np.float32)], axis=1)
            targets = batch.dense(reader.classes)
            logits = inputs @ weights
            logits -= logits.max(axis=1, keepdims=True)
            student = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total -= float((targets * student).sum())
            weights -= rate / inputs.shape[1] * inputs.T @ (np.exp(student) - targets) / len(inputs)
        losses.append(total / len(reader))
    return losses


if __name__ == "__main__":
    print(*(f"{loss:.3f}" for loss in train(sys.argv[1])))
