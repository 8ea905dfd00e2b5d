"""Pictures as a user has them: every kind of file, turned or of several frames, and nothing printed."""

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features

from facectl_runtime import image
from image_files import (
    BLUE,
    GREEN,
    P3,
    QUIET,
    RED,
    SIXTEEN,
    SMALL,
    encode,
    error_of,
    heif,
    picture,
    pixels,
    png,
    samples,
    tiff,
)

pytestmark = QUIET


# Orientation


def turned(orientation, kind, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners = Image.new("RGB", (32, 16), BLUE)
    corners.paste(RED, (0, 0, 8, 8))
    corners.paste(GREEN, (24, 0, 32, 8))
    return encode(corners, kind, exif=exif, **options)


@pytest.mark.parametrize(
    ("orientation", "size", "red", "green"),
    [
        (1, (32, 16), "left upper", "right upper"),
        (2, (32, 16), "right upper", "left upper"),
        (3, (32, 16), "right lower", "left lower"),
        (4, (32, 16), "left lower", "right lower"),
        (5, (16, 32), "left upper", "left lower"),
        (6, (16, 32), "right upper", "right lower"),
        (7, (16, 32), "right lower", "right upper"),
        (8, (16, 32), "left lower", "left upper"),
        (0, (32, 16), "left upper", "right upper"),
        (9, (32, 16), "left upper", "right upper"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_the_picture_upright(kind, orientation, size, red, green):
    found = image.decode(turned(orientation, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert found.size == size
    places = {
        f"{across} {down}": (x, y)
        for across, x in (("left", 3), ("right", size[0] - 4))
        for down, y in (("upper", 3), ("lower", size[1] - 4))
    }
    assert np.abs(np.subtract(found.getpixel(places[red]), RED)).max() < 30
    assert np.abs(np.subtract(found.getpixel(places[green]), GREEN)).max() < 30


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", b"Exif\0\0nonsense" * 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_counts_as_upright(kind, exif):
    assert image.decode(encode(picture(), kind, exif=exif)).size == (40, 30)
    assert image.load(encode(picture(), kind, exif=exif), SMALL).shape == (8, 8, 3)


# Kinds of files


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_taken(kind):
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data) == RED).all()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif():
    assert np.abs(pixels(encode(picture(64, 48), "AVIF", quality=95)) - np.asarray(picture(64, 48))).max() < 16


def test_heic():
    assert np.abs(pixels(heif(picture(64, 48), quality=95)) - np.asarray(picture(64, 48))).max() < 16


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    data = heif(picture(64, 48))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert error_of(data) == "HEIC needs the extra: pip install 'facectl[heic]'"


def test_an_mpo_of_a_phone_gives_its_first_picture():
    frames = [Image.new("RGB", (32, 16), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(pixels(data) - RED).max() < 4


# Around it


def test_nothing_is_printed_and_no_warning_given(tmp_path):
    """Pictures that Pillow warns of, in a fresh process where a warning would be an error."""
    paths = [tmp_path / name for name in ("large.png", "tags.tiff", "apng.png", "palette.png")]
    paths[0].write_bytes(png(10_000, 10_000, 1, 0, bytes(1251) * 10_000))
    data = bytearray(tiff(SIXTEEN[0], 16, "little"))
    paths[1].write_bytes(
        bytes(data).replace(struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 9, 99_999))
    )
    paths[2].write_bytes(png(2, 1, 8, 0, b"\0ab", (b"acTL", bytes(8))))
    paths[3].write_bytes(encode(picture().quantize(8), "PNG", transparency=bytes(range(8))))
    program = """
import sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from facectl_runtime import image
for path in sys.argv[1:]:
    try:
        image.decode(Path(path))
    except image.ImageError:
        pass
"""
    arguments = [sys.executable, "-c", program, *map(str, paths)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reading_a_jpeg_imports_one_reader():
    program = """
import sys
from facectl_runtime import image
image.load(sys.stdin.buffer.read(), image.InputSpec(8, 8, image.CenterCrop()))
print(*sorted(name for name in sys.modules if name.endswith("ImagePlugin") or name in ("PIL.ImageCms", "pillow_heif")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=encode(picture(), "JPEG"), capture_output=True, check=True
    )
    assert done.stdout.split() == [b"PIL.JpegImagePlugin"]


def test_threads_give_what_one_gives():
    files = [data for _, data in samples()] + [
        encode(picture(400, 300), kind, icc_profile=P3) for kind in ("JPEG", "PNG")
    ]
    image._transform_to_srgb.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: image.load(data, SMALL), files * 8))
    alone = [image.load(data, SMALL) for data in files]
    assert all(np.array_equal(one, other) for one, other in zip(found, alone * 8, strict=True))
