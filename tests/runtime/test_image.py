"""Decode and resize as a user meets them: every kind of file, turned, coloured, damaged or far too large."""

import io
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from facectl_runtime import image
from facectl_runtime.errors import ImageError
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, Squash

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FACECTL_TEST_DATA", ROOT.parent / "shared" / "data"))
P3 = Image.open(ROOT / "docs" / "vectors" / "p3.png").info["icc_profile"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMALL = InputSpec(8, 8, Squash())
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

# Pillow's warnings are silenced when the module is imported; pytest brings them back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\..*")


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


# Colour


def p3_to_srgb(colours):
    """By the primaries of the two standards, both with sRGB's curve and D65."""
    to_xyz = np.array([[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]])
    to_srgb = np.array([[3.24097, -1.53738, -0.49861], [-0.96924, 1.87597, 0.04156], [0.05563, -0.20398, 1.05697]])
    v = np.asarray(colours) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ (to_srgb @ to_xyz).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_display_p3_becomes_srgb(kind):
    plain = picture(64, 48)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encode(plain, kind, icc_profile=P3, **options))
    assert np.abs(found - p3_to_srgb(plain)).max() <= 2
    assert np.abs(found - np.asarray(plain)).max() > 15


def test_a_profile_acts_on_colours_and_leaves_transparency_and_palette_in_place():
    clear = picture(64, 48, "RGBA")
    clear.putalpha(128)
    expected = (p3_to_srgb(picture(64, 48)) * 128 + 255 * 127) / 255
    assert np.abs(pixels(encode(clear, "PNG", icc_profile=P3)) - expected).max() <= 2
    few = picture(64, 48).quantize(8)
    found = pixels(encode(few, "PNG", icc_profile=P3))
    assert np.abs(found - p3_to_srgb(few.convert("RGB"))).max() <= 2


@pytest.mark.parametrize(
    "profile",
    [SRGB, b"nonsense", P3[:100], P3[:300], b"", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()],
    ids=["sRGB", "nonsense", "header", "cut", "empty", "Lab"],
)
def test_a_profile_that_is_srgb_damaged_or_of_another_space_changes_nothing(profile):
    assert np.array_equal(pixels(encode(picture(), "PNG", icc_profile=profile)), np.asarray(picture()))


def test_an_rgb_profile_on_a_grey_picture_is_ignored():
    grey = picture(mode="L")
    assert np.array_equal(pixels(encode(grey, "PNG", icc_profile=P3)), np.asarray(grey.convert("RGB")))


D50 = struct.pack(">3i", 63190, 65536, 54061)


def profile(kind, space, connection, name, data):
    """Write an ICC profile of one tag and the white point by hand."""
    data += bytes(-len(data) % 4)
    table = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", 156, 20) + name + struct.pack(">II", 176, len(data))
    head = struct.pack(">I4xI4s4s4s12x4s28x", 176 + len(data), 0x02100000, kind, space, connection, b"acsp")
    return (head + D50).ljust(128, b"\0") + table + b"XYZ \0\0\0\0" + D50 + data


def test_a_grey_profile_becomes_srgb():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(2, 0))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256))
    found = pixels(encode(ramp, "PNG", icc_profile=profile(b"mntr", b"GRAY", b"XYZ ", b"kTRC", curve)))
    linear = (np.arange(256) / 255) ** 1.8
    expected = 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(found - expected[None, :, None]).max() <= 1
    assert np.abs(found[0, :, 0] - np.arange(256)).max() > 10


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_cmyk_profile_becomes_srgb(kind):
    """A press whose cyan is a grey of L* 50, and whose other inks are black."""
    straight = bytes(range(256))
    lab = b"".join(bytes([0 if myk else 128 if cyan else 255, 128, 128]) for cyan in (0, 1) for myk in range(8))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    press = profile(
        b"prtr", b"CMYK", b"Lab ", b"A2B0", b"mft1\0\0\0\0\4\3\2\0" + identity + straight * 4 + lab + straight * 3
    )
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert np.abs(pixels(encode(cyan, kind, icc_profile=press)) - 119).max() <= 4
    assert np.abs(pixels(encode(cyan, kind)) - (0, 255, 255)).max() <= 4
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert np.abs(pixels(encode(paper, kind, icc_profile=press)) - 255).max() <= 4


# Kinds of pixels


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("L", "TIFF"), ("L", "PPM"), ("L", "BMP"), ("1", "PNG"), ("1", "PPM"), ("P", "GIF"), ("P", "PNG")]
    + [("RGB", kind) for kind in ("PNG", "BMP", "PPM", "TIFF")],
)
def test_lossless_kinds_give_their_colours(mode, kind):
    plain = picture().quantize(64) if mode == "P" else picture(mode=mode)
    found = image.decode(encode(plain, kind))
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(plain.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_gives_its_colours(mode):
    found = pixels(encode(picture(mode=mode), "JPEG", quality=95))
    assert np.abs(found - np.asarray(picture(mode=mode).convert("RGB"))).max() < 12


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_tiff_of_other_colour_spaces_becomes_rgb(mode):
    soft = Image.blend(picture(), Image.new("RGB", (40, 30), "grey"), 0.7)  # 8 bits of LAB do not hold every colour
    assert np.abs(pixels(encode(soft.convert(mode), "TIFF")) - np.asarray(soft)).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited_on_white(kind):
    clear = picture(16, 16, "RGBA")
    clear.putalpha(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    colours, alpha = np.asarray(clear)[..., :3].astype(float), np.asarray(clear)[..., 3:] / 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.abs(pixels(encode(clear, kind, **options)) - (colours * alpha + 255 * (1 - alpha))).max() <= 1


def test_grey_with_transparency_is_composited_on_white():
    grey = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 51)])
    assert np.abs(pixels(encode(grey, "PNG")) - (100 * 0.2 + 255 * 0.8)).max() <= 1


def test_transparent_palette_entries_become_white():
    few = Image.new("P", (4, 1))
    few.putpalette([*RED, *GREEN, *BLUE])
    few.putdata([0, 1, 2, 0])
    assert pixels(encode(few, "GIF", transparency=1)).tolist() == [[[255, 0, 0], [255] * 3, [0, 0, 255], [255, 0, 0]]]
    found = pixels(encode(few, "PNG", transparency=bytes([255, 0, 128])))
    assert np.abs(found - [[RED, WHITE, (127, 127, 255), RED]]).max() <= 1


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "key", "expected"),
    [
        (8, 2, bytes([9, 8, 7, 1, 2, 3]), struct.pack(">3H", 9, 8, 7), [WHITE, (1, 2, 3)]),
        (16, 2, struct.pack(">6H", 2560, 0, 9, 257, 514, 771), struct.pack(">3H", 2560, 0, 9), [WHITE, (1, 2, 3)]),
        (8, 0, bytes([9, 10]), struct.pack(">H", 9), [WHITE, (10,) * 3]),
        (4, 0, bytes([0x35]), struct.pack(">H", 3), [WHITE, (85,) * 3]),
        (2, 0, bytes([0b01100000]), struct.pack(">H", 1), [WHITE, (170,) * 3]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [WHITE, WHITE]),
        (16, 0, struct.pack(">2H", 2560, 65535), struct.pack(">H", 2560), [WHITE, WHITE]),
        (16, 0, struct.pack(">2H", 2560, 511), struct.pack(">H", 40000), [(10,) * 3, (1,) * 3]),
    ],
)  # fmt: skip
def test_the_transparent_colour_of_png_becomes_white(depth, colour_type, row, key, expected):
    assert pixels(png(2, 1, depth, colour_type, b"\0" + row, (b"tRNS", key)))[0].tolist() == [list(c) for c in expected]


SIXTEEN = np.array([[0, 255, 256, 511, 32768, 65279, 65280, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_high_byte(kind):
    found = pixels(encode(Image.fromarray(SIXTEEN), kind))
    assert found.tolist() == [[[v >> 8] * 3 for v in SIXTEEN[0].tolist()]]


def test_16_bit_colour_keeps_its_high_byte():
    row = np.repeat(SIXTEEN[0], 3)
    found = pixels(png(8, 1, 16, 2, b"\0" + row.astype(">u2").tobytes()))
    assert found.reshape(-1).tolist() == (row >> 8).tolist()
    grey_and_alpha = np.stack([SIXTEEN[0], np.full(8, 65535)], -1).astype(">u2")
    assert pixels(png(8, 1, 16, 4, b"\0" + grey_and_alpha.tobytes()))[0, :, 0].tolist() == (SIXTEEN[0] >> 8).tolist()


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


@pytest.mark.parametrize("order", ["little", "big"])
def test_16_bit_tiff_keeps_its_high_byte_in_either_order(order):
    assert pixels(tiff(SIXTEEN[0], 16, order))[0, :, 0].tolist() == (SIXTEEN[0] >> 8).tolist()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_samples_without_a_known_range_are_refused(kind):
    message = error_of(encode(Image.fromarray(SIXTEEN.astype(kind)), "TIFF"))
    assert "range is not known" in message


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


# What is refused


def test_a_picture_far_too_large_is_refused_by_its_header():
    data = png(30_000, 30_000, 8, 2, b"")
    assert len(data) < 100
    assert "30000 x 30000" in error_of(data)
    assert "134217728" in error_of(data)
    assert "200000 x 2" in error_of(png(200_000, 2, 8, 2, b""))
    gif = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    assert "65535 x 65535" in error_of(bytes(gif))
    assert "pixels" in error_of(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2)


def test_the_limits_are_inclusive(monkeypatch):
    monkeypatch.setattr(image, "MAX_PIXELS", 1200)
    monkeypatch.setattr(image, "MAX_SIDE", 40)
    assert image.decode(encode(picture(40, 30), "PNG")).size == (40, 30)
    assert "41 x 1" in error_of(encode(picture(41, 1), "PNG"))
    assert "40 x 31" in error_of(encode(picture(40, 31), "PNG"))


def test_a_file_of_too_many_bytes_is_refused_unread(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "MAX_BYTES", 100)
    path = tmp_path / "long.png"
    path.write_bytes(encode(picture(), "PNG"))
    assert "at most 100" in error_of(path)
    assert "at most 100" in error_of(path.read_bytes())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_file_that_ends_too_soon_is_an_error(kind, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    data = encode(noise, kind)
    error_of(data[: int(len(data) * kept)])


def test_what_is_no_picture_is_refused(tmp_path):
    assert "empty" in error_of(b"")
    assert "b'<!doctyp'" in error_of(b"<!doctype html><html>")
    assert "allowed are JPEG" in error_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "damaged" in error_of(b"BM, this is a letter that begins like a bitmap")
    path = tmp_path / "Tiergarten łoś.jpg"
    path.write_text("hello")
    assert "b'hello'" in error_of(path)
    assert "directory" in error_of(tmp_path)
    assert "No such file" in error_of(tmp_path / "missing.jpg")
    assert "null" in error_of(Path("a\0b.jpg"))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in error_of(tmp_path / "pipe")
    path.write_bytes(encode(picture(), "PNG"))
    assert image.decode(path).size == (40, 30)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(encode(picture(), "PNG"))
    path.chmod(0)
    assert "ermission" in error_of(path)


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


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in samples()])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8), kept=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_a_picture_or_one_line(capfd, monkeypatch, data, changes, kept):
    monkeypatch.setattr(image, "MAX_PIXELS", 2**22)  # a damaged size would cost seconds and show nothing
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    damaged = bytes(damaged[: int(len(data) * kept)] if len(changes) < 2 else damaged)
    try:
        found = image.load(damaged, SMALL)
        assert found.shape == (8, 8, 3)
        assert found.dtype == np.uint8
    except ImageError:
        error_of(damaged, SMALL)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "" or data[:2] == b"II"  # libtiff has its own mind


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


# Resize


def test_to_input_takes_arrays_and_refuses_what_is_not_rgb():
    array = np.asarray(picture())
    assert np.array_equal(image.to_input(array, SMALL), image.to_input(picture(), SMALL))
    for wrong in (array.astype(np.float32), array[..., 0], array[..., :2], array[:0], picture(mode="L")):
        with pytest.raises(ImageError, match="needed"):
            image.to_input(wrong, SMALL)


def test_a_picture_of_the_right_size_stays_as_it_is():
    for resize in (Squash(), CenterCrop(), Letterbox()):
        assert np.array_equal(image.to_input(picture(), InputSpec(40, 30, resize)), np.asarray(picture()))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
@pytest.mark.parametrize("resize", [Squash(), CenterCrop(0.5), CenterCrop(1e-9), Letterbox(fill=(1, 2, 3))])
def test_any_shape_of_picture_gives_the_input(size, resize):
    found = image.load(encode(Image.new("RGB", size, RED), "PNG"), InputSpec(17, 9, resize))
    assert found.shape == (9, 17, 3)
    assert (found == RED).all(axis=-1).any()


def test_face_align_wants_five_landmarks():
    points = [[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]]
    spec = InputSpec(16, 16, FaceAlign(((4, 5), (12, 5), (8, 9), (5, 13), (11, 13))))
    for wrong in (points[:4], np.full((5, 2), np.nan), [[7, 7]] * 5):
        with pytest.raises(ImageError, match="face landmarks are"):
            image.to_input(picture(), spec, wrong)
    assert image.to_input(picture(), spec, points).shape == (16, 16, 3)


@pytest.mark.parametrize("side", [60, 200, 400])
def test_a_face_in_a_large_picture_is_aligned_as_in_its_surroundings(side):
    """Only what lies about the face is scaled, and where that is cut out makes no difference beyond a rounding."""
    wanted = np.array([(33, 39), (67, 39), (50, 60), (36, 75), (64, 75)], float)
    spec = InputSpec(100, 100, FaceAlign(tuple(map(tuple, wanted))))
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    large = Image.fromarray(noise).resize((3000, 2700), Image.Resampling.BICUBIC)
    corner = np.array([700, 500])
    points = (wanted - 50) * side / 100 @ np.array([[0.96, 0.28], [-0.28, 0.96]]) + corner + side
    near = large.crop((*corner, *(corner + 2 * side)))
    found, expected = image.to_input(large, spec, points), image.to_input(near, spec, points - corner)
    assert found.std() > 10
    # Scaled, each has a whole number of pixels, so that the scales differ a little where they are no simple fraction.
    assert np.abs(found.astype(int) - expected).mean() <= (0 if side <= 200 else 1)


# JPEG at reduced scale


@cache
def drawn_photograph(width, height):
    """Fill a picture with what photographs are made of: light that falls off, edges, fine texture, noise."""
    random = np.random.default_rng(1)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:height, :width])
    result = np.empty((height, width, 3), np.float32)
    coarse = random.normal(0, 30, (height // 8, width // 8)).astype(np.float32)
    texture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    for channel in range(3):
        result[..., channel] = 128 + 60 * np.sin(x / random.uniform(200, 900)) * np.cos(y / random.uniform(200, 900))
    for _ in range(24):
        angle, offset = random.uniform(0, np.pi), random.uniform(0, width)
        away = x * np.float32(np.cos(angle)) + (y * np.float32(np.sin(angle)) - np.float32(offset))
        result[np.abs(away) < random.uniform(5, 200)] += random.normal(0, 50, 3)
    result += texture[..., None] + random.normal(0, 6, (height, width, 1))
    return Image.fromarray(result.clip(0, 255).astype(np.uint8))


@cache
def mosaic(width, height):
    files = sorted((DATA / "zoo").rglob("*.jpg"))
    if len(files) < 100:
        pytest.skip(f"no photographs under {DATA}/zoo; name their folder in FACECTL_TEST_DATA")
    random = np.random.default_rng(1)
    result = Image.new("RGB", (width, height))
    for y in range(0, height, 500):
        for x in range(0, width, 500):
            tile = Image.open(files[random.integers(len(files))]).convert("RGB")
            result.paste(tile.resize((int(random.integers(500, 1400)),) * 2).crop((0, 0, 500, 500)), (x, y))
    return result


REDUCED = [
    InputSpec(side, side, resize) for side in (160, 224, 299) for resize in (Squash(), CenterCrop(0.875), Letterbox())
]


@pytest.mark.parametrize("draw", [drawn_photograph, mosaic])
@pytest.mark.parametrize(("orientation", "quality"), [(1, 92), (6, 75)])
def test_a_reduced_jpeg_differs_by_at_most_what_the_page_says(draw, orientation, quality):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(draw(4032, 3024), "JPEG", quality=quality, exif=exif)
    full, whole = image.decode(data), 4032 * 3024
    for spec in REDUCED:
        reduced = image.decode(data, spec)
        assert reduced.width * reduced.height < whole / 3.9, spec
        change = np.abs(image.to_input(reduced, spec).astype(int) - image.to_input(full, spec))
        assert change.max() <= 5, spec
        assert change.mean() < 0.4, spec


@pytest.mark.parametrize(
    ("size", "orientation", "spec", "decoded"),
    [
        ((240, 240), 1, InputSpec(10, 10, Squash()), (30, 30)),
        ((232, 240), 1, InputSpec(10, 10, Squash()), (58, 60)),  # 1/8 would leave 2.9 times the width
        ((248, 250), 1, InputSpec(10, 10, Squash()), (124, 125)),  # only 2 divides both sides
        ((241, 240), 1, InputSpec(10, 10, Squash()), (241, 240)),
        ((40, 40), 1, InputSpec(10, 10, Squash()), (40, 40)),
        ((960, 240), 1, InputSpec(10, 10, CenterCrop()), (120, 30)),
        ((960, 240), 1, InputSpec(10, 10, CenterCrop(0.5)), (240, 60)),
        ((960, 240), 1, InputSpec(40, 40, Letterbox()), (120, 30)),
        ((960, 240), 1, InputSpec(40, 10, Squash()), (120, 30)),
        ((960, 240), 6, InputSpec(10, 40, Squash()), (30, 120)),
        ((960, 240), 6, InputSpec(40, 10, Squash()), (120, 480)),
        ((960, 240), 1, InputSpec(10, 10, FaceAlign(((0, 0), (1, 0), (2, 1), (0, 2), (1, 2)))), (960, 240)),
    ],
)
def test_a_jpeg_is_reduced_only_where_enough_is_left(size, orientation, spec, decoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(*size), "JPEG", exif=exif)
    assert image.decode(data, spec).size == decoded
    assert image.decode(data).size == (size if orientation == 1 else size[::-1])


# Threads


def test_threads_give_what_one_gives():
    files = [data for _, data in samples()] + [
        encode(picture(400, 300), kind, icc_profile=P3) for kind in ("JPEG", "PNG")
    ]
    image._transform_to_srgb.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: image.load(data, SMALL), files * 8))
    alone = [image.load(data, SMALL) for data in files]
    assert all(np.array_equal(one, other) for one, other in zip(found, alone * 8, strict=True))
