"""Images as they come from the web: `broken_images()` cannot be decoded, `odd_images()` are strange but valid."""

from __future__ import annotations

import functools
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin


@functools.cache
def photo(width: int = 61, height: int = 47) -> Image.Image:
    """Return an RGB picture with smooth parts, an edge and noise; no two orientations of it are equal."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 40, (height, width, 3))
    smooth = np.stack([x * 200 // width, y * 200 // height, (x > width // 3) * 150], axis=-1)
    return Image.fromarray((smooth + noise).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode an image with Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *, depth: int = 8, color: int = 2, extra: bytes = b"") -> bytes:
    """Return a PNG with this header and these compressed bytes, which need not fit together."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    )


def tiff(entries: list[tuple[int, int, int, int]]) -> bytes:
    """Return a little-endian TIFF of one directory with (tag, type, count, value) entries and no pixels."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + directory + b"\x00\x00\x00\x00"


def jpeg_segment(data: bytes, marker: int) -> int:
    """Return where the first segment with this marker starts."""
    return data.index(bytes([0xFF, marker]))


def jpeg_resized(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG that claims another size in its frame header."""
    frame = jpeg_segment(data, 0xC0)
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def _broken_jpegs() -> dict[str, bytes]:
    jpeg = encode(photo(), "JPEG", quality=95)
    progressive = encode(photo(), "JPEG", progressive=True)
    restarts = encode(photo(), "JPEG", quality=95, restart_marker_blocks=2)
    scan, half = jpeg_segment(jpeg, 0xDA), len(jpeg) // 2
    quantization, restart = jpeg_segment(jpeg, 0xDB), jpeg_segment(restarts, 0xD0)
    huffman = scan + 14 + 200
    return {
        "jpeg_magic_only": jpeg[:3],
        "jpeg_cut_in_header": jpeg[:30],
        "jpeg_cut_before_scan": jpeg[:scan],
        "jpeg_cut_at_scan": jpeg[: scan + 14],
        "jpeg_cut_in_half": jpeg[:half],
        "jpeg_cut_at_nine_tenths": jpeg[: len(jpeg) * 9 // 10],
        "jpeg_progressive_cut_in_half": progressive[: len(progressive) // 2],
        "jpeg_half_zeroed": jpeg[:half] + bytes(len(jpeg) - half),
        "jpeg_bad_huffman_codes": jpeg[:huffman] + b"\xff\x00" * 60 + jpeg[huffman + 120 :],
        "jpeg_ends_early": jpeg[:half] + b"\xff\xd9",
        "jpeg_lost_restart_markers": restarts[:restart] + restarts[restart + 60 :],
        "jpeg_without_end_marker": jpeg[:-2],
        "jpeg_no_quantization_table": jpeg[:quantization] + jpeg[jpeg_segment(jpeg, 0xC0) :],
        "jpeg_random_after_magic": b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(4000),
        "jpeg_zero_width": jpeg_resized(jpeg, 0, 47),
        "jpeg_zero_height": jpeg_resized(jpeg, 61, 0),
        "jpeg_claims_65500_squared": jpeg_resized(jpeg, 65500, 65500),
        "jpeg_claims_4000_squared": jpeg_resized(jpeg, 4000, 4000),
        "jpeg_two_start_markers": b"\xff\xd8" * 500,
        "jpeg_ten_thousand_scans": progressive + progressive[jpeg_segment(progressive, 0xDA) :] * 1000,
        "jpeg_twelve_bits": jpeg.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        "jpeg_seven_components": jpeg[: jpeg_segment(jpeg, 0xC0) + 9] + b"\x07" + jpeg[jpeg_segment(jpeg, 0xC0) + 10 :],
        "jpeg_text_mode_transfer": jpeg.replace(b"\n", b"\r\n").replace(b"\xff\x00", b"\xff?"),
        "jpeg_decoded_as_utf8": jpeg.decode("utf-8", "replace").encode(),
        "jpeg_inside_html": b"<html><body>" + jpeg,
    }


def _broken_pngs() -> dict[str, bytes]:
    good = encode(photo(), "PNG")
    data = good.index(b"IDAT")
    rows = zlib.compress(b"\x00" * 4 * 4)
    bomb = png_chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 1))
    return {
        "png_magic_only": good[:8],
        "png_cut_in_half": good[: len(good) // 2],
        "png_cut_before_pixels": good[: data - 4],
        "png_bad_header_checksum": good[:29] + b"\x00\x00\x00\x00" + good[33:],
        "png_bad_pixel_checksum": good[: data + 40] + bytes([good[data + 40] ^ 0xFF]) + good[data + 41 :],
        "png_bomb_by_header": png(60_000, 60_000, zlib.compress(bytes(1000))),
        "png_bomb_just_over_the_limit": png(9460, 9460, zlib.compress(bytes(1000))),
        "png_bomb_in_text_chunk": png(2, 2, zlib.compress(bytes(14)), extra=bomb),
        "png_zero_width": png(0, 5, zlib.compress(b"")),
        "png_zero_height": png(5, 0, zlib.compress(b"")),
        "png_negative_size": png(0x80000001, 5, rows),
        "png_too_few_rows": png(4, 400, rows),
        "png_unknown_filter": png(4, 4, zlib.compress(b"\x09" * 13 * 4)),
        "png_seventeen_bits": png(4, 4, rows, depth=17),
        "png_color_type_nine": png(4, 4, rows, color=9),
        "png_endless_chunk": good[:33] + b"\x7f\xff\xff\xffIDAT" + good[data + 4 : data + 50],
        "png_pixels_not_compressed": png(4, 4, bytes(48)),
    }


def _broken_others() -> dict[str, bytes]:
    gif, webp, bmp = (encode(photo(), f) for f in ("GIF", "WEBP", "BMP"))
    good_tiff, lzw = encode(photo(), "TIFF"), encode(photo(), "TIFF", compression="tiff_lzw")
    size = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    return {
        "gif_magic_only": b"GIF89a",
        "gif_cut_in_half": gif[: len(gif) // 2],
        "gif_no_frame": gif[:13] + b"\x3b",
        "gif_bomb": b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;",
        "webp_cut_in_half": webp[: len(webp) // 2],
        "webp_magic_only": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        "webp_random": b"RIFF\x00\x10\x00\x00WEBPVP8L" + np.random.default_rng(2).bytes(4000),
        "tiff_no_directory": b"II*\x00\xff\xff\xff\x7f",
        "tiff_directory_is_itself": b"II*\x00\x00\x00\x00\x00",
        "tiff_absurd_tag_counts": tiff([(256, 4, 0x7FFFFFFF, 8), (257, 4, 0x7FFFFFFF, 8), *size[2:]]),
        "tiff_no_strips": tiff(size),
        "tiff_strip_far_away": tiff([*size, (273, 4, 1, 0x7FFFFFF0), (278, 4, 1, 8), (279, 4, 1, 64)]),
        "tiff_bomb": tiff([(256, 4, 1, 10**9), (257, 4, 1, 10**9), *size[2:], (273, 4, 1, 8)]),
        "tiff_unknown_compression": tiff([*size[:3], (259, 3, 1, 9999), *size[4:], (273, 4, 1, 8), (279, 4, 1, 64)]),
        "tiff_cut_in_half": good_tiff[: len(good_tiff) // 2],
        "tiff_lzw_zeroed": lzw[:8] + bytes(len(lzw) // 2) + lzw[8 + len(lzw) // 2 :],
        "bmp_cut_in_half": bmp[: len(bmp) // 2],
        "bmp_negative_width": bmp[:18] + struct.pack("<i", -61) + bmp[22:],
        "bmp_bomb": bmp[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bmp[26:],
        "bmp_unknown_header_size": bmp[:14] + struct.pack("<I", 7) + bmp[18:],
    }


def _other_files() -> dict[str, bytes]:
    archive, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("photo.jpg", encode(photo(), "JPEG"))
    with tarfile.open(fileobj=tar, mode="w") as opened_tar:
        opened_tar.addfile(tarfile.TarInfo("photo.jpg"), io.BytesIO())
    fits = b"".join(c.ljust(80) for c in (b"SIMPLE  =                    T", b"NAXIS   = 0", b"END")).ljust(2880)
    return {
        "empty": b"",
        "one_byte": b"\x00",
        "one_magic_byte": b"\xff",
        "zeros": bytes(10_000),
        "random": np.random.default_rng(3).bytes(10_000),
        "text": "Keine Erlaubnis für dieses Bild.".encode(),
        "html_error_page": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
        "html_with_jpeg_magic": b"\xff\xd8\xff<html><script>alert(1)</script></html>",
        "json_error": b'{"error": "rate limited"}',
        "pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(w) run\nshowpage\n%%EOF\n",
        "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "fits": fits,
        "psd": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 9, 9, 8, 3) + bytes(300),
        "ico": encode(photo(), "ICO"),
        "jpeg_2000": encode(photo(), "JPEG2000"),
        "ppm": encode(photo(), "PPM"),
        "gzipped_jpeg": gzip.compress(encode(photo(), "JPEG"), mtime=0),
        "zip": archive.getvalue(),
        "tar": tar.getvalue(),
        "mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(100),
        "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1024\n",
        "base64_data_url": b"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD",
    }


@functools.cache
def broken_images() -> dict[str, bytes]:
    """Return files of distinct kinds that no pipeline may take for an image, by what is wrong with them."""
    return _other_files() | _broken_jpegs() | _broken_pngs() | _broken_others()


def exif(orientation: int) -> Image.Exif:
    """Return an EXIF block that says how the camera was held."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def _odd_jpegs() -> dict[str, bytes]:
    rgb = photo()
    jpeg, cmyk = encode(rgb, "JPEG"), rgb.convert("CMYK")
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    broken_exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x12\x01\x03\x00\xff\xff\xff\xff" * 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        **{f"jpeg_held_in_way_{n}": encode(rgb, "JPEG", exif=exif(n)) for n in range(1, 9)},
        "jpeg_grey": encode(rgb.convert("L"), "JPEG"),
        "jpeg_grey_held_in_way_6": encode(rgb.convert("L"), "JPEG", exif=exif(6)),
        "jpeg_cmyk": encode(cmyk, "JPEG"),
        "jpeg_cmyk_held_in_way_8": encode(cmyk, "JPEG", exif=exif(8)),
        "jpeg_stored_as_rgb": encode(rgb, "JPEG", keep_rgb=True),
        "jpeg_progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg_restart_markers": encode(rgb, "JPEG", restart_marker_blocks=2),
        "jpeg_subsampled_4:2:2": encode(rgb, "JPEG", subsampling="4:2:2"),
        "jpeg_not_subsampled": encode(rgb, "JPEG", subsampling="4:4:4"),
        "jpeg_with_icc_profile": encode(rgb, "JPEG", icc_profile=profile),
        "jpeg_orientation_99": encode(rgb, "JPEG", exif=exif(99)),
        "jpeg_turned_by_xmp": encode(rgb, "JPEG", xmp=xmp),
        "jpeg_broken_exif": encode(rgb, "JPEG", exif=broken_exif),
        "jpeg_exif_behind_64_kb": encode(rgb, "JPEG", icc_profile=profile + bytes(200_000), exif=exif(6)),
        "jpeg_multi_picture": encode(rgb, "MPO", save_all=True, append_images=[rgb.rotate(90)]),
        "jpeg_multi_picture_turned": encode(rgb, "MPO", save_all=True, append_images=[rgb], exif=exif(6)),
        "jpeg_zip_behind_it": jpeg + b"PK\x03\x04 and a whole archive",
        "jpeg_junk_before_the_end": jpeg[:-2] + b"\x00\x00\x00\x00" + jpeg[-2:],
        "jpeg_without_its_standard_tables": jpeg[: jpeg_segment(jpeg, 0xC4)] + jpeg[jpeg_segment(jpeg, 0xDA) :],
        "jpeg_one_pixel": encode(photo(1, 1), "JPEG"),
        "jpeg_one_row": encode(photo(999, 1), "JPEG"),
    }


def _odd_pngs() -> dict[str, bytes]:
    rgb = photo()
    alpha = Image.fromarray(np.arange(47 * 61, dtype=np.uint32).reshape(47, 61).astype(np.uint8))
    rgba, palette = rgb.copy(), rgb.quantize(40)
    rgba.putalpha(alpha)
    deep = Image.fromarray((np.arange(47 * 61, dtype=np.uint32) * 22 % 65536).astype(np.uint16).reshape(47, 61))
    turned = PngImagePlugin.PngInfo()
    turned.add_itxt("XML:com.adobe.xmp", '<a tiff:Orientation="8"/>', zip=True)
    late = encode(rgb, "PNG")[:-12] + png_chunk(b"eXIf", exif(6).tobytes()[6:]) + png_chunk(b"IEND", b"")
    return {
        "png_grey": encode(rgb.convert("L"), "PNG"),
        "png_grey_and_alpha": encode(Image.merge("LA", [rgb.convert("L"), alpha]), "PNG"),
        "png_rgba": encode(rgba, "PNG"),
        "png_one_bit": encode(rgb.convert("1"), "PNG"),
        "png_palette": encode(palette, "PNG"),
        "png_palette_one_color_clear": encode(palette, "PNG", transparency=3),
        "png_palette_many_alphas": encode(palette, "PNG", transparency=bytes(range(0, 240, 6))),
        "png_rgb_one_color_clear": encode(rgb, "PNG", transparency=rgb.getpixel((5, 5))),
        "png_16_bit_grey": encode(deep, "PNG"),
        "png_16_bit_rgb": png(3, 2, zlib.compress((b"\x00" + bytes(range(18))) * 2), depth=16),
        "png_2_bit_grey": png(4, 2, zlib.compress(b"\x00\x1b\x00\xe4"), depth=2, color=0),
        "png_held_in_way_5": encode(rgb, "PNG", exif=exif(5)),
        "png_exif_behind_pixels": late,
        "png_turned_by_compressed_xmp": encode(rgb, "PNG", pnginfo=turned),
        "png_animated": encode(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "png_one_pixel": encode(photo(1, 1), "PNG"),
        "png_one_column": encode(photo(1, 700), "PNG"),
    }


def _odd_others() -> dict[str, bytes]:
    rgb = photo()
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L"))
    numbers = np.arange(47 * 61).reshape(47, 61)
    floats = (numbers / 10 - 20).astype(np.float32)
    floats[0, :3] = [np.nan, np.inf, -np.inf]
    frames = [rgb, rgb.rotate(180)]
    return {
        "gif": encode(rgb, "GIF"),
        "gif_animated": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "gif_clear": encode(rgb.quantize(30), "GIF", transparency=2),
        "webp_lossy": encode(rgb, "WEBP"),
        "webp_lossless_alpha": encode(rgba, "WEBP", lossless=True),
        "webp_animated": encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "webp_held_in_way_7": encode(rgb, "WEBP", exif=exif(7)),
        "bmp": encode(rgb, "BMP"),
        "bmp_one_bit": encode(rgb.convert("1"), "BMP"),
        "tiff": encode(rgb, "TIFF"),
        "tiff_cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "tiff_jpeg_inside": encode(rgb, "TIFF", compression="jpeg"),
        "tiff_lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff_fax": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff_16_bit_grey": encode(Image.fromarray((numbers * 22).astype(np.uint16)), "TIFF"),
        "tiff_32_bit_grey": encode(Image.fromarray((numbers * 22).astype(np.int32)), "TIFF"),
        "tiff_float": encode(Image.fromarray(floats), "TIFF"),
        "tiff_two_pages": encode(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(90)]),
        **{f"tiff_held_in_way_{n}": encode(rgb, "TIFF", tiffinfo={274: n}) for n in range(2, 9)},
    }


@functools.cache
def odd_images() -> dict[str, bytes]:
    """Return files that are strange but valid: each must decode as Pillow decodes it."""
    return _odd_jpegs() | _odd_pngs() | _odd_others()
