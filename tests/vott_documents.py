"""Documents as VoTT writes them, the photographs that they tag, and crops to compare."""

import numpy as np
from PIL import Image

from facectl_runtime.image import decode

SIZE = (80, 60)


def photograph(path, seed=0, size=SIZE, **more):
    """Save noise without loss; no two seeds give the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG", **more)
    return path


def region(left, top, width, height, *tags, kind="RECTANGLE", points=()):
    box = {"left": left, "top": top, "width": width, "height": height}
    return {
        "id": "r",
        "type": kind,
        "tags": list(tags),
        "boundingBox": box,
        "points": [{"x": x, "y": y} for x, y in points],
    }


def asset(path, *regions, size=SIZE, kind=1, name=None):
    size = size and {"width": size[0], "height": size[1]}
    name = name or path.rsplit("/", 1)[-1]
    about = {"format": "png", "id": "0f", "name": name, "path": path, "size": size, "state": 2, "type": kind}
    return {"asset": about, "regions": list(regions), "version": "2.1.0"}


def export(*assets):
    assets = {f"{number:032x}": each for number, each in enumerate(assets)}
    return {"name": "faces", "tags": [{"name": "anna", "color": "#fff"}], "version": "2.1.0", "assets": assets}


def frame(left, top, right, bottom, *tags, size=SIZE, kind="Rectangle"):
    corners = {"x1": left, "y1": top, "x2": right, "y2": bottom}
    points = [{"x": x, "y": y} for x in (left, right) for y in (top, bottom)]
    shown = {"width": size[0], "height": size[1]}
    return {
        **corners,
        **shown,
        "box": corners,
        "points": points,
        "UID": "u",
        "type": kind,
        "tags": list(tags),
        "name": 1,
    }


def frames(**regions):
    return {"frames": regions, "framerate": "1", "inputTags": "anna,bob", "scd": False, "tag_colors": ["#fff"]}


def crops(folder):
    """Give path → pixels of every crop."""
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path, left, top, right, bottom):
    return np.asarray(decode(path))[top:bottom, left:right]


def same(folder, expected):
    found = crops(folder)
    assert sorted(found) == sorted(expected)
    for name, wanted in expected.items():
        assert np.array_equal(found[name], wanted), name


def why(done):
    return {(each["file"], each["region"]): each["why"] for each in done.json()["left_out"]}
