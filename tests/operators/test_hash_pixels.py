from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from broken_images import broken_images, encode, exif, photo

from reinforced.images import ImageError, decode
from reinforced.operators.hash.pixels import HashPixels


def hashes(*images: bytes) -> list[str]:
    table = pa.table({"key": [f"{i}" for i in range(len(images))], "image": images})
    return HashPixels()(table).column("pixel_sha256").to_pylist()


def test_one_picture_has_one_hash_in_every_lossless_encoding() -> None:
    found = hashes(*(encode(photo(), f) for f in ("PNG", "BMP", "TIFF")), encode(photo(), "WEBP", lossless=True))
    assert len(set(found)) == 1


def test_the_hash_is_that_of_size_and_pixels_so_that_others_can_make_it() -> None:
    expected = hashlib.sha256(b"61x47:" + photo().tobytes()).hexdigest()
    assert hashes(encode(photo(), "PNG")) == [expected]


def test_a_photo_and_its_upright_copy_are_the_same_picture() -> None:
    turned = encode(photo(), "JPEG", exif=exif(6))
    from reinforced.images import encode_png

    assert len(set(hashes(turned, encode_png(decode(turned))))) == 1


def test_other_pixels_have_another_hash() -> None:
    assert len(set(hashes(encode(photo(), "PNG"), encode(photo(), "JPEG"), encode(photo().rotate(180), "PNG")))) == 3


def test_an_image_that_does_not_decode_has_no_hash() -> None:
    with pytest.raises(ImageError):
        hashes(encode(photo(), "PNG"), broken_images()["jpeg_cut_in_half"])
