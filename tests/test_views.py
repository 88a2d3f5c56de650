from __future__ import annotations

import threading

import numpy as np
import pytest
from reinforced_dataset import AUGMENT, samples

from reinforced.augment import Augment
from reinforced.batch import Batch
from reinforced.images import Pixels
from reinforced.reinforcement import pixel_crc
from reinforced.views import Views, made_ahead


def image(number: int) -> Pixels:
    return np.full((2, 3, 3), number, np.uint8)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_images_come_in_order_whoever_made_them(threads: int) -> None:
    parts = [range(4), range(4, 8), range(8, 9)]
    batches = list(made_ahead(image, parts, threads))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0, 0, 0], range(9))


def test_the_next_batch_is_made_while_one_is_looked_at() -> None:
    begun = threading.Event()

    def make(number: int) -> Pixels:
        if number == 1:
            begun.set()
        return image(number)

    batches = made_ahead(make, [range(1), range(1, 2)])
    next(batches)
    assert begun.wait(5), "nothing is made until it is asked for"


def test_an_image_that_cannot_be_made_raises_in_its_turn() -> None:
    def make(number: int) -> Pixels:
        if number == 3:
            raise ValueError("no view 3")
        return image(number)

    batches = made_ahead(make, [range(2), range(2, 4)], threads=2)
    assert len(next(batches)) == 2
    with pytest.raises(ValueError, match="no view 3"):
        next(batches)


def test_no_threads_are_left_behind_by_a_caller_that_stops_early() -> None:
    batches = made_ahead(image, [range(i, i + 1) for i in range(50)], threads=2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("augment")]


@pytest.mark.parametrize(("size", "threads"), [(3, 1), (64, 2)])
def test_views_are_the_same_however_they_are_cut(size: int, threads: int) -> None:
    augment, batch = Augment.model_validate(AUGMENT), Batch(samples(0, 5))
    views = Views(augment, 0, batch, range(30))
    made = np.concatenate(list(views.batches(size, threads)))
    for row in (0, 29, 30, 149):
        stored = {name: values[row] for name, values in views.parameters.items()}
        np.testing.assert_array_equal(made[row], augment.apply(batch.pixels[row // 30], stored))
    crcs = views.pixel_crcs().to_pylist()
    assert 0 < sum(crc is not None for crc in crcs) < 20
    assert all(crc in (None, pixel_crc(view)) for crc, view in zip(crcs, made, strict=True))
