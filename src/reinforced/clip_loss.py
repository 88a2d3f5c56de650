"""The loss that trains a CLIP student on where CLIP teachers put its images and texts, for PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize


class ClipEmbeddings(NamedTuple):
    """Embeddings of a batch's views, of their captions and of one synthetic caption each, (n, dimensions)."""

    views: Tensor
    captions: Tensor
    synthetic: Tensor


class ClipDistillationLoss(nn.Module):
    """CLIP's loss and the distillation of teachers' similarities, for real and for synthetic captions, added.

    For each kind of caption the loss is `(1 - weight) * clip + weight * distillation`. `clip` is the cross-entropy of
    matching image and text within the batch, both ways. `distillation` is the mean over the teachers of the
    Kullback-Leibler divergence from the teacher's softmax of scaled cosines, over the texts of the batch for each image
    and over its images for each text, to the student's; the mean of both ways (Vasu et al. 2024, *MobileCLIP*).

    dimensions, logit_scales: those of the teachers, whose embeddings stand side by side (`ClipEpochReader.teachers`).
    weight: from 0, CLIP's loss alone, to 1, the teachers alone.
    """

    def __init__(self, dimensions: Sequence[int], logit_scales: Sequence[float], weight: float = 0.75) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}: it goes from 0, CLIP's loss, to 1, the teachers alone")
        self.dimensions, self.logit_scales, self.weight = list(dimensions), list(logit_scales), weight

    def forward(self, student: ClipEmbeddings, logit_scale: Tensor | float, teachers: ClipEmbeddings) -> Tensor:
        """Return the loss, a scalar.

        student: of unit length. logit_scale: the student's, by which cosines are multiplied. teachers: as stored.
        """
        parts = [torch.split(part.float(), self.dimensions, dim=1) for part in teachers]
        views, *texts = [[normalize(own, dim=1) for own in part] for part in parts]
        total = student.views.new_zeros(())
        for own, theirs in zip(student[1:], texts, strict=True):
            logits = logit_scale * student.views @ own.T
            pairs = zip(self.logit_scales, views, theirs, strict=True)
            said = [scale * view @ text.T for scale, view, text in pairs]
            distillation = torch.stack([_divergence(teacher, logits) for teacher in said]).mean()
            total = total + (1 - self.weight) * clip_loss(logits) + self.weight * distillation
        return total


def clip_loss(logits: Tensor) -> Tensor:
    """Return CLIP's loss of scaled similarities (n images, n texts), whose diagonal matches; the mean of both ways."""
    matches = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, matches) + cross_entropy(logits.T, matches)) / 2


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    both = [
        kl_div(log_softmax(own, dim=1), log_softmax(wanted, dim=1), log_target=True, reduction="batchmean")
        for own, wanted in ((student, teacher), (student.T, teacher.T))
    ]
    return (both[0] + both[1]) / 2
