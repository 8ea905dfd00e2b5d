"""Image files of every kind, also of those that Pillow does not write, and what is said of a bad one."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from facectl_runtime import image
from facectl_runtime.errors import ImageError
from facectl_runtime.spec import InputSpec, Squash

ROOT = Path(__file__).parents[1]
P3 = Image.open(ROOT / "docs" / "vectors" / "p3.png").info["icc_profile"]
SMALL = InputSpec(8, 8, Squash())
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# Pillow's warnings are silenced when the module is imported; pytest brings them back for each test.
QUIET = pytest.mark.filterwarnings(r"ignore:::PIL\..*")


def encode(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def heif(picture, **options):
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(picture).save(stream, **options)
    return stream.getvalue()


def pixels(data, spec=None):
    return np.asarray(image.decode(data, spec)).astype(int)


def picture(width=40, height=30, mode="RGB"):
    """Draw smooth colours, which survive JPEG."""
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1)
    return Image.fromarray(colours.astype(np.uint8)).convert(mode)


def png(width, height, depth, colour_type, rows, *chunks):
    """Write a PNG by hand: kinds that Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    body = b"".join(chunk(*each) for each in chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def error_of(source, spec=None):
    with pytest.raises(ImageError) as caught:
        image.decode(source, spec)
    message = str(caught.value)
    assert "\n" not in message
    assert 10 < len(message) < 400
    return message


SIXTEEN = np.array([[0, 255, 256, 511, 32768, 65279, 65280, 65535]], np.uint16)


def tiff(samples, bits, order):
    """Write one row of samples as a TIFF by hand, in either byte order."""
    mark, data = ("<", b"II*\0") if order == "little" else (">", b"MM\0*")
    body = samples.astype(f"{mark}u{samples.itemsize}").tobytes()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    tags = [(256, len(samples)), (257, 1), (258, bits), (259, 1), (262, 1 if channels == 1 else 2)]
    tags += [(273, 8), (277, channels), (278, 1), (279, len(body))]
    entries = b"".join(struct.pack(mark + "HHI", tag, 4, 1) + struct.pack(mark + "I", v) for tag, v in tags)
    return (
        data + struct.pack(mark + "I", 8 + len(body)) + body + struct.pack(mark + "H", len(tags)) + entries + bytes(4)
    )


def samples():
    """One small valid file of each kind, with metadata to damage."""
    plain = picture(24, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg", encode(plain, "JPEG", exif=exif, icc_profile=P3)
    yield "progressive", encode(plain.convert("CMYK"), "JPEG", progressive=True)
    yield "png", encode(plain, "PNG", exif=exif, icc_profile=P3)
    yield "png16", encode(Image.fromarray(SIXTEEN), "PNG")
    yield "palette", encode(plain.quantize(8), "PNG", transparency=bytes(range(8)))
    yield "gif", encode(plain.quantize(8), "GIF", save_all=True, append_images=[plain.quantize(4)], transparency=2)
    yield "webp", encode(plain.convert("RGBA"), "WEBP", exif=exif, icc_profile=P3)
    yield "lossless", encode(plain, "WEBP", lossless=True)
    yield "bmp", encode(plain, "BMP")
    yield "tiff", encode(plain, "TIFF", exif=exif, icc_profile=P3)
    yield "tiff_lzw", encode(plain, "TIFF", compression="tiff_lzw")
    yield "tiff_jpeg", encode(plain, "TIFF", compression="jpeg")
    yield "ppm", encode(plain, "PPM")
    yield "plain_ppm", b"P3 2 2 15 " + b"1 2 3 4 5 6 7 8 9 10 11 12"
    if features.check("avif"):
        yield "avif", encode(plain, "AVIF")
    try:
        yield "heic", heif(plain)
    except pytest.skip.Exception:
        return
