"""The loss that trains a student on what teachers said, for PyTorch."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn


class SparseTarget(NamedTuple):
    """The most probable classes, int64 (..., k), their probabilities, float32 (..., k), and the tail."""

    classes: Tensor
    probabilities: Tensor
    tail: Tensor


class SoftTargetKLLoss(nn.Module):
    """Kullback-Leibler divergence from the teachers' probabilities to the student's, the mean over the batch.

    Takes logits (N, classes) and targets, dense (N, classes) or sparse; a sparse target gives the same loss as the
    dense one with its tail spread evenly, without making it. tail: `spread`, or `apart` to compare the tail with the
    student's probability of all unlisted classes together, which says nothing about how it is divided among them.
    """

    def __init__(self, tail: Literal["spread", "apart"] = "spread") -> None:
        super().__init__()
        self.tail = tail

    def forward(self, logits: Tensor, target: Tensor | SparseTarget | tuple[Any, ...]) -> Tensor:
        """Return the loss, a scalar."""
        student = torch.log_softmax(logits.float(), dim=1)
        if isinstance(target, Tensor):
            return (_x_log_x(target) - target * student).sum(dim=1).mean()
        classes, teacher, rest = SparseTarget(*target)
        listed = student.gather(1, classes)
        loss = (_x_log_x(teacher) - teacher * listed).sum(dim=1)
        others = logits.shape[1] - classes.shape[1]
        if others == 0:
            return loss.mean()
        if self.tail == "spread":
            student_rest = (student.sum(dim=1) - listed.sum(dim=1)) / others
            return (loss + _x_log_x(rest) - rest * math.log(others) - rest * student_rest).mean()
        unlisted = torch.logsumexp(student.scatter(1, classes, -torch.inf), dim=1)
        return (loss + _x_log_x(rest) - rest * unlisted).mean()


def _x_log_x(values: Tensor) -> Tensor:
    return cast(Tensor, torch.special.xlogy(values, values))
