from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced import sparse
from reinforced.loss import SoftTargetKLLoss, SparseTarget


@st.composite
def targets(draw: st.DrawFn) -> tuple[torch.Tensor, SparseTarget, torch.Tensor]:
    """Logits of a student and the same targets, sparse and dense; also one-hot ones, and all classes listed."""
    seed, classes = draw(st.integers(0, 10_000)), draw(st.integers(2, 12))
    top_k, concentration = draw(st.integers(1, classes)), draw(st.sampled_from([0.01, 1.0, 50.0]))
    random = np.random.default_rng(seed)
    dense = random.dirichlet(np.full(classes, concentration), 4).astype(np.float32)
    dense[0] = np.eye(classes)[0]
    steps = sparse.steps_for(top_k, 1e-3)
    found = sparse.decode(*sparse.encode(dense, top_k, steps), steps)
    target = SparseTarget(
        torch.tensor(found.classes.astype(np.int64)), torch.tensor(found.probabilities), torch.tensor(found.tail)
    )
    return torch.tensor(random.normal(0, 3, (4, classes))), target, torch.tensor(sparse.densify(found, classes))


@settings(deadline=None)
@given(targets())
def test_the_sparse_loss_equals_the_dense_one_with_its_gradient(
    made: tuple[torch.Tensor, SparseTarget, torch.Tensor],
) -> None:
    logits, target, dense = made
    gradients, losses = [], []
    for one in (target, dense):
        student = logits.clone().requires_grad_()
        loss = SoftTargetKLLoss()(student, one)
        loss.backward()
        losses.append(loss.item())
        gradients.append(student.grad)
    plain = torch.nn.functional.kl_div(logits.float().log_softmax(1), dense, reduction="batchmean").item()
    np.testing.assert_allclose(losses, [plain, plain], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


@settings(deadline=None)
@given(targets())
def test_a_tail_kept_apart_asks_nothing_about_its_division(
    made: tuple[torch.Tensor, SparseTarget, torch.Tensor],
) -> None:
    logits, target, dense = made
    loss = SoftTargetKLLoss(tail="apart")
    assert 0 - 1e-5 <= loss(logits, target) <= SoftTargetKLLoss()(logits, target) + 1e-4
    listed = torch.zeros_like(dense, dtype=torch.bool).scatter(1, target.classes, True)
    division = torch.where(listed, 0, torch.rand_like(dense))
    student = logits.float().softmax(1)
    rest = torch.where(listed, 0, student)
    divided = division / division.sum(1, keepdim=True).clamp_min(1e-9) * rest.sum(1, keepdim=True)
    moved = torch.where(listed, student, divided.clamp_min(1e-30)).log()
    torch.testing.assert_close(loss(moved, target), loss(logits, target), atol=1e-3, rtol=1e-3)


def test_the_loss_is_zero_where_the_student_agrees() -> None:
    target = SparseTarget(torch.tensor([[2, 0]]), torch.tensor([[0.6, 0.3]]), torch.tensor([0.1]))
    agreeing = torch.tensor([[0.3, 0.05, 0.6, 0.05]]).log()
    for tail in ("spread", "apart"):
        assert abs(SoftTargetKLLoss(tail=tail)(agreeing, target)) < 1e-6  # type: ignore[arg-type]
        assert SoftTargetKLLoss(tail=tail)(torch.zeros(1, 4), target) > 0.1  # type: ignore[arg-type]
