from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from reinforced.augment import Augment
from reinforced.auto_augment import POLICIES, find_policy
from reinforced.operations import OPERATIONS, SIGNED


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_25_pairs_within_the_scale(name: str) -> None:
    policy = find_policy(name)
    assert policy.operation.shape == policy.limit.shape == policy.magnitude.shape == (25, 2)
    assert policy.limit.max() <= 2**32 and policy.magnitude.max() <= 9
    assert not policy.magnitude[policy.operation >= OPERATIONS.index("autocontrast")].any()


@pytest.mark.parametrize("name", POLICIES)
def test_operations_are_applied_as_often_as_the_policy_says(name: str) -> None:
    made = Augment.model_validate({"size_px": 8, "auto_augment": {"policy": name}})
    drawn = made.parameters(0, ["a"], range(40_000), [9], [9])
    codes, magnitudes, policy = drawn["auto_augment"], drawn["auto_augment_magnitude"], find_policy(name)
    share = policy.limit / 2.0**32
    for place in (0, 1):
        for operation in range(1, len(OPERATIONS)):
            wanted = np.where(policy.operation[:, place] == operation, share[:, place], 0).mean()
            assert abs((codes[:, place] >> 1 == operation).mean() - wanted) < 0.01
    identity = codes == 0
    assert not magnitudes[identity].any()
    found = np.stack([codes >> 1, magnitudes], 2)[~identity.any(axis=1)]
    possible = np.stack([policy.operation, policy.magnitude], 2)[(policy.limit > 0).all(axis=1)]
    assert {tuple(pair.ravel()) for pair in found} == {tuple(pair.ravel()) for pair in possible}
    assert abs((codes[SIGNED[codes >> 1]] & 1).mean() - 0.5) < 0.02


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValidationError, match="'imagenet' or 'cifar10'"):
        Augment.model_validate({"size_px": 8, "auto_augment": {"policy": "svhn"}})
