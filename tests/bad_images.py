"""Image files that cannot be read, each with a part of what has to be said of it."""

import io
import struct
import zlib

from PIL import Image


def png_header(width: int, height: int) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()[:800]


BAD = {
    "text.jpg": (b"just a text\n", "not an image"),
    "cut.jpg": (truncated_jpeg(), "damaged"),
    "empty.png": (b"", "empty"),
    "huge.png": (png_header(30_000, 30_000), "30000 x 30000"),
}
