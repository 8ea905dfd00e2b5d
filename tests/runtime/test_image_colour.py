"""Colours: every profile, mode and depth becomes sRGB of eight bits, on white."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from facectl_runtime import image
from image_files import BLUE, GREEN, P3, QUIET, RED, SIXTEEN, WHITE, encode, picture, pixels, png, tiff

pytestmark = QUIET

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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


@pytest.mark.parametrize("order", ["little", "big"])
def test_16_bit_tiff_keeps_its_high_byte_in_either_order(order):
    assert pixels(tiff(SIXTEEN[0], 16, order))[0, :, 0].tolist() == (SIXTEEN[0] >> 8).tolist()
