from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from broken_images import broken_images, encode, exif, jpeg_segment, odd_images, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from reinforced.images import MAX_PIXELS, ImageError, Pixels, decode, encode_png, measure, open_image, pixel_sha256

BROKEN, ODD = broken_images(), odd_images()


def plain_pillow(data: bytes) -> Pixels:
    """Decode with Pillow alone, as its manual shows: open, turn upright, put alpha on white, convert to RGB.

    Pillow has no good conversion of more than 8 bits to 8, so these are scaled here by 65535 / 255; floats are clipped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode in ("I;16", "I;16B", "I", "F"):
            values = np.nan_to_num(np.asarray(image, np.float64)) / (1 if image.mode == "F" else 257)
            return np.stack([np.clip(np.round(values), 0, 255).astype(np.uint8)] * 3, axis=-1)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))


def pillow_as_it_is(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_collection_of_broken_images_is_as_large_as_promised() -> None:
    assert len(BROKEN) >= 40
    assert len(set(BROKEN.values())) == len(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_refused_quickly_in_one_line(name: str, recwarn: pytest.WarningsRecorder) -> None:
    open_image(ODD["webp_lossy"])  # plugins are loaded
    started = time.perf_counter()
    with pytest.raises(ImageError) as raised:
        decode(BROKEN[name])
    assert time.perf_counter() - started < 1
    assert len(str(raised.value).splitlines()) == 1
    assert "0x7" not in str(raised.value), "a memory address would make two runs differ"
    assert not recwarn.list


@pytest.mark.parametrize("name", BROKEN)
def test_measuring_a_broken_image_gives_a_bounded_size_or_the_reason(name: str) -> None:
    try:
        width, height = measure(BROKEN[name])
    except ImageError as error:
        assert str(error)
    else:
        assert 1 <= width * height <= MAX_PIXELS


def test_broken_images_cannot_fill_the_memory(tmp_path: Path) -> None:
    for i, data in enumerate(BROKEN.values()):
        (tmp_path / f"{i:03d}").write_bytes(data)
    script = """
import pathlib, resource, sys
from reinforced.images import ImageError, decode, encode_png
import numpy as np
decode(encode_png(np.zeros((9, 9, 3), np.uint8)))
before, errors = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode(file.read_bytes())
    except ImageError:
        errors += 1
print(errors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    errors, grown_kib = map(int, found.stdout.split())
    assert errors == len(BROKEN)
    assert grown_kib < 250 * 1024, "the bombs claim gigabytes; the largest honest claim is 4,000 x 4,000 px"


def test_disguised_files_never_reach_a_decoder_of_another_format(tmp_path: Path) -> None:
    for kind in ("eps", "pdf", "fits", "psd", "svg", "ico"):
        (tmp_path / f"{kind}.jpg").write_bytes(BROKEN[kind])
    script = """
import pathlib, sys
from reinforced.images import ImageError, decode
for file in pathlib.Path(sys.argv[1]).iterdir():
    try:
        decode(file.read_bytes())
    except ImageError:
        print(file.name)
print(*sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    *refused, modules = found.stdout.splitlines()
    assert len(refused) == 6
    plugins = {name for name in modules.split() if name.endswith("ImagePlugin")}
    decoders = {f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP")}
    assert decoders <= plugins
    assert plugins - decoders <= {"PIL.PpmImagePlugin"}, "only what Pillow always imports may be there"


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_decodes_to_the_pixels_of_plain_pillow(name: str, recwarn: pytest.WarningsRecorder) -> None:
    pixels = decode(ODD[name])
    assert not recwarn.list
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, plain_pillow(ODD[name]))


@pytest.mark.parametrize("name", ODD)
def test_the_measured_size_is_the_decoded_size(name: str) -> None:
    height, width, _ = decode(ODD[name]).shape
    assert measure(ODD[name]) == (width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_is_upright_however_the_camera_was_held(orientation: int, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    held = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]  # what undoes the turn that is recorded
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encode(photo(), "PNG", exif=exif(held)))))
    upright = decode(encode(turned, format, exif=exif(orientation), **options))
    assert upright.shape == (47, 61, 3)
    tolerance = 20 if format == "JPEG" else 0
    assert np.abs(upright.astype(int) - np.asarray(photo())).mean() <= tolerance


sides = st.integers(1, 70)


@settings(max_examples=150, deadline=None)
@given(
    sides, sides, st.integers(1, 100), st.sampled_from(["444", "422", "420", "440", "411", "Gray"]), st.integers(0, 999)
)
def test_jpegs_of_any_size_and_subsampling_decode_as_in_pillow(
    width: int, height: int, quality: int, subsampling: str, seed: int
) -> None:
    colors = "GRAY" if subsampling == "Gray" else "RGB"
    shape = (height, width, 1 if colors == "GRAY" else 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    data = simplejpeg.encode_jpeg(pixels, quality, colors, subsampling)
    np.testing.assert_array_equal(decode(data), pillow_as_it_is(data))
    assert measure(data) == (width, height)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.booleans(), st.booleans(), st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]), st.integers(0, 3))
def test_jpegs_of_every_coding_decode_as_in_pillow(
    width: int, height: int, progressive: bool, optimize: bool, subsampling: str, restart: int
) -> None:
    data = encode(
        photo(width, height),
        "JPEG",
        progressive=progressive,
        optimize=optimize,
        subsampling=subsampling,
        restart_marker_rows=restart,
    )
    np.testing.assert_array_equal(decode(data), pillow_as_it_is(data))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_damaged_in_any_place_give_pixels_or_a_reason(data: st.DataObject) -> None:
    damaged = bytearray(ODD[data.draw(st.sampled_from(sorted(ODD)))])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    damaged = damaged[:cut] if data.draw(st.booleans()) else damaged
    try:
        pixels = decode(bytes(damaged))
    except ImageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_no_truncated_jpeg_passes_for_a_whole_one(share: float) -> None:
    for options in ({}, {"progressive": True}, {"exif": exif(6)}, {"restart_marker_blocks": 3}):
        jpeg = encode(photo(), "JPEG", **options)
        with pytest.raises(ImageError):
            decode(jpeg[: int(len(jpeg) * share)])


def test_a_jpeg_of_many_scans_is_refused_before_it_costs_minutes() -> None:
    progressive = encode(photo(3000, 3000), "JPEG", progressive=True)
    scan = jpeg_segment(progressive, 0xDA)
    started = time.perf_counter()
    with pytest.raises(ImageError, match="scans"):
        decode(progressive[:-2] + progressive[scan : scan + 40] * 5000)
    assert time.perf_counter() - started < 0.5


def test_threads_decode_side_by_side_and_leave_the_warning_filters_alone() -> None:
    expected = {name: pixel_sha256(decode(data)) for name, data in ODD.items()}
    filters = list(warnings.filters)
    wrong: list[str] = []

    def work() -> None:
        wrong.extend(name for name, data in ODD.items() if pixel_sha256(decode(data)) != expected[name])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert warnings.filters == filters


@settings(max_examples=30, deadline=None)
@given(sides, sides, st.booleans(), st.integers(0, 99))
def test_png_gives_back_the_pixels_it_was_given(width: int, height: int, grey: bool, seed: int) -> None:
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    decoded = decode(encode_png(pixels))
    np.testing.assert_array_equal(decoded, np.stack([pixels] * 3, axis=-1) if grey else pixels)


def test_the_pixel_hash_sees_shape_and_every_pixel_but_not_the_encoding() -> None:
    pixels = decode(ODD["png_one_column"])
    changed = pixels.copy()
    changed[-1, -1, -1] ^= 1
    hashes = {pixel_sha256(p) for p in (pixels, pixels.transpose(1, 0, 2), changed)}
    assert len(hashes) == 3
    assert pixel_sha256(decode(ODD["bmp"])) == pixel_sha256(decode(ODD["tiff_lzw"]))
