from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from reinforced.clip_loss import ClipDistillationLoss, ClipEmbeddings


def embeddings(seed: int, width: int, rows: int = 6) -> ClipEmbeddings:
    torch.manual_seed(seed)
    return ClipEmbeddings(*(normalize(torch.randn(rows, width), dim=1) for _ in range(3)))


def side_by_side(*teachers: ClipEmbeddings) -> ClipEmbeddings:
    return ClipEmbeddings(*(torch.cat(parts, dim=1).half() for parts in zip(*teachers, strict=True)))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_loss_is_the_formula_written_out() -> None:
    one, two, student = embeddings(0, 5), embeddings(1, 3), embeddings(2, 4)
    scales, scale, weight = [30.0, 100.0], 7.0, 0.7
    stored = side_by_side(one, two)
    expected = 0.0
    for kind in (1, 2):
        own = scale * student[0].numpy() @ student[kind].numpy().T
        clip = -np.mean([np.log(np.diag(softmax(m))).mean() for m in (own, own.T)])
        each = []
        for teacher, by in zip((one, two), scales, strict=True):
            theirs = by * teacher[0].numpy() @ teacher[kind].numpy().T
            for p, q in ((softmax(theirs), softmax(own)), (softmax(theirs.T), softmax(own.T))):
                each.append((p * (np.log(p) - np.log(q))).sum(axis=1).mean())
        expected += (1 - weight) * clip + weight * np.mean(each)
    found = ClipDistillationLoss([5, 3], scales, weight)(student, scale, stored)
    assert found.item() == pytest.approx(expected, rel=0.02)  # the teachers' vectors are rounded to float16


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn() -> None:
    teacher = embeddings(0, 5)
    loss = ClipDistillationLoss([5], [20.0], weight=1)
    assert loss(teacher, 20.0, side_by_side(teacher)).item() < 1e-4
    assert loss(embeddings(1, 5), 20.0, side_by_side(teacher)).item() > 1


def test_gradients_reach_the_student_and_its_scale() -> None:
    student = ClipEmbeddings(*(part.requires_grad_() for part in embeddings(1, 4)))
    scale = torch.tensor(5.0, requires_grad=True)
    ClipDistillationLoss([5], [20.0])(student, scale, side_by_side(embeddings(0, 5))).backward()  # type: ignore[no-untyped-call]
    for learned in (*student, scale):
        assert learned.grad is not None and learned.grad.abs().max() > 0


def test_a_weight_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight is 1.5"):
        ClipDistillationLoss([5], [20.0], weight=1.5)
