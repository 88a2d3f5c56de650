from __future__ import annotations

from collections import Counter
from itertools import pairwise

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.batch import Batch
from reinforced.operators.filter.shared_text import FilterSharedText

Pair = tuple[str, str | None]


def reasons(pairs: list[Pair], **limits: int | None) -> dict[int, tuple[str, float | None]]:
    """Return the reason and the score of every (image, text) that is dropped, by its place."""
    operator = FilterSharedText(**limits)  # type: ignore[arg-type]
    rows = {"key": [str(i) for i in range(len(pairs))], "sha256": [image for image, _ in pairs]}
    sketch = operator.sketch(Batch(pa.table(rows | {"caption": pa.array([t for _, t in pairs], pa.string())})))
    table = pa.table({"shard": ["0"] * len(pairs), "row": range(len(pairs))} | dict(sketch))
    table = table.set_column(2, "text", table.column("text").cast(pa.string()))
    with duckdb.connect() as connection:
        return {row: (why, n) for _, row, why, n in operator.reduce(connection.from_arrow(table)).fetchall()}


def test_a_text_of_many_images_goes_with_all_its_rows() -> None:
    pairs: list[Pair] = [(f"i{i}", "Image not available!") for i in range(3)]
    pairs += [("i1", "image NOT available"), ("i9", "a bird"), ("i9", None), ("i8", "…")]
    assert reasons(pairs, max_images=2) == dict.fromkeys(range(4), ("max_images", 3))
    assert reasons(pairs, max_images=3) == {}


def test_many_copies_of_one_image_do_not_make_its_text_common() -> None:
    assert reasons([("same", "a bird")] * 20) == {}


def test_an_image_with_many_texts_goes() -> None:
    pairs: list[Pair] = [("logo", f"text {i}") for i in range(4)] + [("bird", "text 1"), ("bird", "Text 1")]
    assert reasons(pairs, max_texts=3) == dict.fromkeys(range(4), ("max_texts", 4))


def test_a_text_with_a_rare_word_or_pair_goes() -> None:
    pairs: list[Pair] = [("a", "red bird"), ("b", "red bird"), ("c", "bird red"), ("d", "red xqz")]
    found = reasons(pairs, frequent_grams=3)
    assert found == {2: ("rare: bird red", None), 3: ("rare: red xqz", None)}


TEXTS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), TEXTS), min_size=1, max_size=9), st.integers(1, 6))
def test_what_is_dropped_is_what_the_rules_say(pairs: list[Pair], frequent: int) -> None:
    texts = [(image, text) for image, text in pairs if text]
    counts: Counter[str] = Counter()
    grams = [[*t.split(), *(" ".join(p) for p in pairwise(t.split()))] for _, t in pairs if t is not None]
    counts.update(gram for some in grams for gram in some)
    known = sorted(counts, key=lambda gram: (-counts[gram], gram))[:frequent]
    expected = {
        i
        for i, (image, text) in enumerate(pairs)
        if text
        and (
            len({t for other, t in texts if other == image}) > 2
            or len({other for other, t in texts if t == text}) > 1
            or not set(grams[i]) <= set(known)
        )
    }
    assert set(reasons(pairs, max_texts=2, max_images=1, frequent_grams=frequent)) == expected
