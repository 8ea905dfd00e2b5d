"""Draw the test vectors of docs/preprocessing.md: PNG files in, PNG files expected, and vectors.json that pairs them.

Run from the repository: `python docs/vectors/make_vectors.py`. The expected files come from facectl_runtime.image; the
tests hold that against a second implementation, written from the page's text alone.
"""

import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime import image
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, Squash

HERE = Path(__file__).parent
Array = npt.NDArray[np.uint8]
TEMPLATE = ((19.5, 26.0), (37.0, 25.8), (28.3, 36.1), (21.0, 46.4), (35.5, 46.2))
LARGE_FACE = [[42.0, 30.0], [98.0, 42.0], [66.0, 66.0], [34.0, 82.0], [80.0, 92.0]]
SMALL_FACE = [[5.0, 4.0], [14.0, 3.0], [10.0, 9.0], [6.0, 14.0], [14.5, 13.5]]


def pattern(width: int, height: int) -> Array:
    """Draw rings that grow finer, a checkerboard, a slanted edge and two ramps: RGB, height x width x 3."""
    y, x = np.mgrid[:height, :width].astype(float)
    rings = 127.5 + 127.5 * np.cos(((x - 0.4 * width) ** 2 + (y - 0.55 * height) ** 2) / 60)
    edge = np.where(3 * x - y > 1.6 * width, 235, 20)
    board = np.where((x // 3 + y // 5) % 2 == 0, 250, 5)
    ramp = 255 * (x / width + y / height) / 2
    colours = np.stack([rings, np.where(y < height / 2, edge, ramp), np.where(x < width / 3, board, 255 - ramp)], -1)
    return colours.round().astype(np.uint8)


def p3_profile() -> bytes:
    """Write an ICC profile (version 4) of Display-P3 primaries, D65 adapted to D50, with sRGB's curve."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    def text(words: str) -> bytes:
        return (
            b"mluc\0\0\0\0"
            + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(words), 28)
            + words.encode("utf-16-be")
        )

    curve = b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": text("Wide"),
        b"cprt": text("CC0"),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.51512, 0.2412, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1571, 0.06657, 0.78407),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s", start + len(body), bytes(4), 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def draw_inputs() -> None:
    """Write the input files."""
    wide = pattern(157, 101)
    Image.fromarray(wide).save(HERE / "pattern.png", optimize=True)
    Image.fromarray(pattern(101, 157)).save(HERE / "tall.png", optimize=True)
    Image.fromarray(pattern(19, 17)).save(HERE / "small.png", optimize=True)
    alpha = np.linspace(0, 255, 90 * 60).round().astype(np.uint8).reshape(60, 90, 1)
    Image.fromarray(np.concatenate([pattern(90, 60), alpha], -1)).save(HERE / "rgba.png", optimize=True)
    grey = np.linspace(0, 65535, 90 * 60).round().astype(np.uint16).reshape(60, 90)
    Image.fromarray(grey).save(HERE / "grey16.png", optimize=True)
    indexed = Image.fromarray(pattern(90, 60)).quantize(16, dither=Image.Dither.NONE)
    indexed.save(HERE / "palette.png", optimize=True, transparency=bytes(range(0, 256, 17)))
    y, x = np.mgrid[:60, :90]
    saturated = np.stack([x * 255 // 89, y * 255 // 59, (x + y) * 255 // 148], -1).astype(np.uint8)
    Image.fromarray(saturated).save(HERE / "p3.png", optimize=True, icc_profile=p3_profile())
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pattern(90, 60)).save(HERE / "orientation6.png", optimize=True, exif=turned)


def main() -> None:
    """Write inputs, expected outputs and vectors.json."""
    draw_inputs()
    ground = Letterbox(fill=(20, 90, 160))
    face = InputSpec(56, 64, FaceAlign(TEMPLATE))
    cases: list[tuple[str, str, InputSpec, list[list[float]] | None]] = [
        ("squash", "pattern.png", InputSpec(48, 40, Squash()), None),
        ("squash_tall", "tall.png", InputSpec(40, 30, Squash()), None),
        ("center_crop", "pattern.png", InputSpec(40, 48, CenterCrop(0.875)), None),
        ("letterbox_wide", "pattern.png", InputSpec(64, 64, ground), None),
        ("letterbox_tall", "tall.png", InputSpec(56, 48, ground), None),
        ("enlarge", "small.png", InputSpec(50, 44, Squash()), None),
        ("enlarge_crop", "small.png", InputSpec(40, 40, CenterCrop(0.875)), None),
        ("rgba", "rgba.png", InputSpec(40, 40, CenterCrop()), None),
        ("grey16", "grey16.png", InputSpec(40, 40, Squash()), None),
        ("palette", "palette.png", InputSpec(40, 40, Squash()), None),
        ("p3", "p3.png", InputSpec(40, 40, Squash()), None),
        ("orientation6", "orientation6.png", InputSpec(47, 41, CenterCrop(0.875)), None),
        ("face_large", "pattern.png", face, LARGE_FACE),
        ("face_small", "small.png", face, SMALL_FACE),
    ]
    vectors = []
    for name, source, spec, landmarks in cases:
        expected = image.to_input(image.decode(HERE / source, spec), spec, landmarks)
        Image.fromarray(expected).save(HERE / f"{name}.expected.png", optimize=True)
        vector = {"name": name, "input": source, "spec": msgspec.to_builtins(spec), "expected": f"{name}.expected.png"}
        vectors.append(vector | ({"landmarks": landmarks} if landmarks else {}))
    lines = ",\n".join(f"  {json.dumps(vector)}" for vector in vectors)
    (HERE / "vectors.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
