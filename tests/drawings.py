"""Answers to pictures, videos and cameras, and what `--draw` makes of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
from PIL import Image

from facectl_runtime.draw import Drawing, drawn
from facectl_runtime.rows import Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.video.clip import clip
from facectl_runtime.video.selection import ALL, Selection


def answer(label: str | None = None, *top: tuple[str, float], name: str = "x", **more) -> Row:
    ranked = tuple(Ranked(*pair) for pair in top or ((label or "", 0.75),))
    return Row(name, label=label or ranked[0].label, probability=ranked[0].probability, top=ranked, **more)


def of_image(path: Path) -> tuple[Source, Row]:
    return Source(str(path), path), answer("red", name=str(path))


def of_video(path: Path, selection: Selection = ALL) -> list[tuple[Source, Row]]:
    return [(source, answer("red", name=source.name)) for source in clip(path, selection)]


def of_camera(name: str, arrived: float, colour: str = "red", size=(64, 48)) -> tuple[Source, Row]:
    picture = Image.new("RGB", size, colour)
    at = datetime(2026, 11, 26, 19, 5, tzinfo=UTC) + timedelta(seconds=arrived)
    shown = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Source(name, lambda: picture, arrived=arrived), answer("red", name=name, at=shown)


def into(out: Path, **options) -> Drawing:
    return Drawing(out, **{"say": print, **options})


def draw(given, out: Path, **options) -> None:
    given = list(given)
    assert list(drawn(iter(given), into(out, **options))) == given


def frames(path: Path) -> list[tuple[float, np.ndarray]]:
    """Read a video: (seconds, int pixels) a frame."""
    with av.open(str(path)) as file:
        return [(frame.time, frame.to_ndarray(format="rgb24").astype(int)) for frame in file.decode(video=0)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
