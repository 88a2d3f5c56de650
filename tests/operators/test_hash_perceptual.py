from __future__ import annotations

import pyarrow as pa
import pytest
from broken_images import encode
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_sample_images

from reinforced.operators.hash.perceptual import HashPerceptual


def test_a_copy_in_another_encoding_has_nearly_the_same_bits_and_columns_of_a_kind_stand_together() -> None:
    photo = Image.fromarray(load_sample_images().images[0])
    images = [encode(photo, "PNG"), encode(photo, "JPEG", quality=60)]
    table = HashPerceptual(kinds=("phash", "pdq"))(pa.table({"key": ["a", "b"], "image": images}))
    assert table.column_names == ["key", "image", "phash", "phash_quality", "pdq", "pdq_quality"]
    first, second = table.column("phash").to_pylist()
    assert (first ^ second).bit_count() <= 4
    assert [len(words) for words in table.column("pdq").to_pylist()] == [4, 4]


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="phash_256"):
        HashPerceptual(kinds=("dhash",))
