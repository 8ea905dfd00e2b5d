"""Openverse on this machine, and what a search leaves in its folder."""

import csv
import hashlib
import io
import json
import math
import struct
import zlib

import numpy as np
from PIL import Image

from loopback import Reply

TEXTS = ("title", "creator", "creator_url", "license_version", "license_url", "source", "foreign_landing_url")


def picture(seed, kind="JPEG"):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def bomb():
    """Give a PNG whose header claims more pixels than any photograph has."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def photo_id(number):
    return f"00000000-0000-4000-8000-{number:012}"


class Index:
    """Openverse on this machine: as many photographs as a test adds, and answers of its own before those."""

    def __init__(self, site):
        self.site, self.photos, self.queries = site, [], []
        self.replies = []
        """What comes instead of the next pages."""
        self.headers = ()
        site.routes["/v1/images/"] = self.answer

    def add(self, content=None, path=None, **changes):
        number = len(self.photos)
        name = photo_id(number)
        url = self.site.put(path or f"/photo/{number}", picture(number) if content is None else content)
        about = {field: f"{field} of {number}" for field in TEXTS}
        known = {"id": name, "url": url, "license": "by", "attribution": f"photograph {number}", "mature": False}
        more = {"height": 12, "width": 16, "tags": [{"name": "x"}], "thumbnail": None, "filesize": None}
        self.photos.append(about | known | more | changes)
        return name

    def answer(self, query):
        self.queries.append(query)
        if self.replies:
            return self.replies.pop(0)
        size, page = int(query["page_size"]), int(query["page"])
        if size > 20 or page * size > 240:
            return problem(401, "Anonymous requests go no deeper than 240.")
        pages = math.ceil(len(self.photos) / size)
        found = self.photos[(page - 1) * size : page * size]
        body = {
            "result_count": len(self.photos),
            "page_count": pages,
            "page_size": size,
            "page": page,
            "results": found,
        }
        return Reply(json.dumps(body).encode(), headers=self.headers)

    def pages(self):
        return [int(query["page"]) for query in self.queries]

    def downloads(self):
        return [path for path, _ in self.site.asked if path.startswith("/photo")]


def problem(status, detail, *headers):
    return Reply(json.dumps({"detail": detail}).encode(), status, headers)


def limits(available, rate="20/min", scope="anon_burst"):
    return ((f"X-RateLimit-Limit-{scope}", rate), (f"X-RateLimit-Available-{scope}", str(available)))


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def photographs(folder):
    return [name for name in names(folder) if name not in ("sources.csv", ".search.json")]


def rows(folder):
    with (folder / "sources.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state(folder):
    return json.loads((folder / ".search.json").read_bytes())


def consistent(folder):
    """Check that table and files are of each other, and that nothing half-written is left; gives the rows."""
    table = rows(folder) if (folder / "sources.csv").exists() else []
    assert sorted(row["file"] for row in table) == photographs(folder)
    for row in table:
        assert hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    json.loads((folder / ".search.json").read_bytes())
    return table
