"""Drawn photographs, one run trained on them, and what tests do with the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drawn_people import RECIPE, draw_people
from helpers import Ran, call

COLOURS = {"red": (205, 60, 50), "green": (60, 170, 70), "blue": (50, 70, 200)}


def draw(path: Path, colour: str, seed: int, size: tuple[int, int] = (64, 64)) -> Path:
    """Save noise around a colour; no two seeds give the same picture."""
    noise = np.random.default_rng(seed).normal(0, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(np.clip(noise + COLOURS[colour], 0, 255))).save(path)
    return path


def draw_classes(folder: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Draw a folder of pictures for each colour; a class called `either` holds reds and greens in turn."""
    for label, count in counts.items():
        for number in range(count):
            colour = ("red", "green")[number % 2] if label == "either" else label
            seed += 1
            draw(folder / label / f"{number:02}.png", colour, seed)
    return folder


@dataclass(frozen=True)
class Trained:
    folder: Path
    data: Path
    home: Path
    arguments: Sequence[str]
    """Of the command, all but `--out`."""
    report: dict[str, Any]
    """What `train --json` said."""


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; what is in the third, nobody can tell from the others, so that accuracy is not simply 1."""
    return draw_classes(tmp_path_factory.mktemp("photographs"), {"red": 12, "green": 12, "either": 12})


@pytest.fixture(scope="session")
def trained(home: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run that every test may read and none may change."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("runs") / "colours"
    words = ["train", "zoo", "--data", str(photographs), "--epochs", "15", "--seed", "3", "--device", "cpu", "--json"]
    words.append("--no-report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_HOME", str(home))
        done = call(*words, "--out", folder, "--quiet")
    assert done.code == 0, done.err
    return Trained(folder, photographs, home, words, done.json())


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, of which one has twice the images of the other."""
    return draw_classes(tmp_path_factory.mktemp("uneven"), {"red": 16, "green": 8}, seed=300)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    pytest.importorskip("tf_keras")
    from tiny_network import install

    folder = tmp_path_factory.mktemp("weights")
    return folder, install(folder)


@pytest.fixture
def tiny(tiny_weights: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Add the backbone `tiny` to those there are, in a cache of the test's own; gives it."""
    from facectl_trainer.backbones import BACKBONES

    folder, body = tiny_weights
    monkeypatch.setitem(BACKBONES, "tiny", body)
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    return body


@pytest.fixture(name="draw", scope="session")
def _draw() -> Callable[..., Path]:
    return draw


@pytest.fixture(name="draw_classes", scope="session")
def _draw_classes() -> Callable[..., Path]:
    return draw_classes


@pytest.fixture
def train(facectl: Callable[..., Ran], tmp_path: Path, tiny: Any) -> Callable[..., Ran]:
    """Give a function that trains on a folder, `tiny` into `tmp_path`/runs/new unless told otherwise."""

    def call(data: Path, *more: object, out: Path | None = None, recipe: object = None) -> Ran:
        words = ["train", recipe] if recipe else ["train", "zoo", "--backbone", tiny.name]
        words += ["--data", data, "--out", out or tmp_path / "runs" / "new", "--no-report"]
        return facectl(*words, "--epochs", 2, "--device", "cpu", "--quiet", "--json", *more)

    return call


@pytest.fixture
def refused(train: Callable[..., Ran], tmp_path: Path) -> Callable[..., str]:
    """Give a function that trains in vain, and gives the one line said."""

    def call(*arguments: Any, **options: Any) -> str:
        done = train(*arguments, **options)
        assert done.code == 2
        assert not list((tmp_path / "runs").glob("*"))
        return done.error()

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "data", {"red": 4, "blue": 4})


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw twelve people, four photographs each, which no test may change."""
    return draw_people(tmp_path_factory.mktemp("few"), [f"Person {number}" for number in range(12)], each=4, seed=5)


@pytest.fixture
def mine(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a recipe of an embedding."""

    def write(text: str = RECIPE, *changes: tuple[str, str]) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return write
