import math

from hypothesis import given
from hypothesis import strategies as st

from reinforced.counter import words
from reinforced.stream import BLOCK, Stream, streams


@given(st.integers(0, 2**40), st.text(max_size=8))
def test_a_stream_is_the_same_alone_and_among_others(seed: int, key: str) -> None:
    alone, among = Stream(seed, "x", key), streams(seed, "x", ["a", key, "b"])[1]
    assert [alone.word() for _ in range(2 * BLOCK + 1)] == [among.word() for _ in range(2 * BLOCK + 1)]


def test_a_stream_goes_on_after_its_first_block_and_never_repeats_it() -> None:
    stream = Stream(3, "x", "key")
    found = [stream.word() for _ in range(2 * BLOCK)]
    assert found == words(3, "x", ["key"], [0, 1], BLOCK).reshape(-1).tolist()
    assert len(set(found)) == 2 * BLOCK


@given(st.integers(0, 2**32))
def test_numbers_stay_in_their_ranges(seed: int) -> None:
    stream = Stream(seed, "x", "key")
    assert all(-2 <= stream.uniform(-2, 5) < 5 for _ in range(20))
    assert {stream.between(3, 5) for _ in range(100)} == {3, 4, 5}
    x, y = stream.direction()
    assert abs(math.hypot(x, y) - 1) < 1e-12


def test_directions_are_even_around_the_circle() -> None:
    stream = Stream(0, "x", "key")
    quarters = [0, 0, 0, 0]
    for _ in range(4000):
        x, y = stream.direction()
        quarters[int(math.atan2(y, x) // (math.pi / 2)) + 2] += 1
    assert all(900 < count < 1100 for count in quarters)
