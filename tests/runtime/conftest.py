"""A classifier of a few nodes that names the dominant colour of a picture, and what tests do with it."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facectl_runtime import image
from facectl_runtime.spec import (
    SPEC_KEY,
    Golden,
    GoldenImage,
    InputSpec,
    ModelSpec,
    OutputSpec,
    Provenance,
    Squash,
    Threshold,
    encode,
)
from helpers import Ran

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}
WIDTH, HEIGHT = 12, 8
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the program sees to it itself, and a test of that takes this away
PROGRAM = (sys.executable, "-c", "from facectl_runtime.cli import main; main()")


def colour_graph(
    classes: int = 3,
    width: int = WIDTH,
    height: int = HEIGHT,
    batch: str | int = "N",
    pixels: int = TensorProto.UINT8,
    last: str = "Softmax",
) -> onnx.ModelProto:
    """Mean of the pixels × 0.02, then softmax: uint8 N × height × width × 3 → float32 N × classes."""
    ends = {"Softmax": {"axis": 1}, "LpNormalization": {"axis": 1, "p": 2}, "Log": {}}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node(last, ["logits"], ["probabilities"], **ends[last]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", pixels, [batch, height, width, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, classes])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.eye(3, classes, dtype=np.float32) / 50, "weights"),
        ],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def colour_spec(**changes: Any) -> ModelSpec:
    spec = ModelSpec(
        name="colours",
        task="classify",
        precision="fp32",
        labels=("red", "green", "blue"),
        input=InputSpec(WIDTH, HEIGHT, Squash()),
        output=OutputSpec("probabilities", 3),
        provenance=Provenance("colours", 0, "0" * 64, "mean", None, None, {"onnx": "1"}, "2026-01-02T03:04:05Z"),
    )
    return msgspec.structs.replace(spec, **changes)


def png(colour: Any, size: tuple[int, int] = (20, 10)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, COLOURS.get(colour, colour)).save(stream, "PNG")
    return stream.getvalue()


def record(graph: onnx.ModelProto, spec: ModelSpec) -> Golden:
    """Ask ONNX Runtime itself what the graph says of four pictures."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString())
    striped = Image.new("RGB", (90, 40), "red")
    striped.paste("blue", (0, 0, 30, 40))
    stream = io.BytesIO()
    striped.save(stream, "PNG")
    images = []
    for data in (stream.getvalue(), png("red"), png("green", (5, 7)), png((200, 10, 60))):
        answer = session.run(None, {"pixels": image.load(data, spec.input)[None]})[0][0]
        images.append(GoldenImage(data, tuple(map(float, answer))))
    return Golden(tuple(images), 0.001)


def save(path: Path, spec: ModelSpec | str | None, graph: onnx.ModelProto | None = None) -> Path:
    """Write a model whose spec is `spec`, or the text in its place, or none."""
    model = onnx.ModelProto()
    model.CopyFrom(graph or colour_graph())
    if spec is not None:
        model.metadata_props.add(key=SPEC_KEY, value=spec if isinstance(spec, str) else encode(spec))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def colours() -> SimpleNamespace:
    """Give the makers above, for tests that need a model of their own."""
    return SimpleNamespace(graph=colour_graph, spec=colour_spec, save=save, record=record, png=png, rgb=COLOURS)


@pytest.fixture(scope="session")
def golden() -> Golden:
    return record(colour_graph(), colour_spec())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, golden: Golden) -> Path:
    """Make a whole model: three classes and golden vectors."""
    return save(tmp_path_factory.mktemp("model") / "colours.onnx", colour_spec(golden=golden))


@pytest.fixture(scope="session")
def cautious(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model with a threshold: grey is none of its colours."""
    threshold = Threshold(0.6, "max_probability", 0.01, 100, 0.02, 100)
    return save(tmp_path_factory.mktemp("cautious") / "cautious.onnx", colour_spec(threshold=threshold))


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = colour_spec(task="embed", labels=(), output=OutputSpec("embedding", 3), embedding_id="colours/mean")
    return save(tmp_path_factory.mktemp("embedder") / "embedder.onnx", spec, colour_graph(last="LpNormalization"))


@pytest.fixture
def paint(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a picture of one colour below `tmp_path`."""

    def write(name: str, colour: Any = "red", size: tuple[int, int] = (20, 10)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, COLOURS.get(colour, colour)).save(path)
        return path

    return write


@pytest.fixture
def classes(tmp_path: Path, paint: Callable[..., Path]) -> Path:
    """Make a folder with two images a class, one of the blue ones painted red."""
    for colour in ("red", "green", "blue"):
        paint(f"data/{colour}/1.png", colour)
    paint("data/red/2.png", "red")
    paint("data/green/2.png", "green")
    paint("data/blue/2.png", "red")
    return tmp_path / "data"


@pytest.fixture
def refuse(classes: Path, facectl: Callable[..., Ran]) -> Callable[..., str]:
    """Give a function that runs every command on a model that it must refuse, and gives what was said."""

    def run(path: Path, commands: Sequence[str] = ("predict", "evaluate", "verify", "inspect")) -> str:
        said = set()
        for command in commands:
            more = {"predict": [classes], "evaluate": ["--data", classes, "--quiet"]}.get(command, [])
            ran = facectl(command, path, *more)
            assert ran.code == 4
            said.add(ran.error())
        assert len(said) == 1
        return said.pop()

    return run


@pytest.fixture
def proven(golden: Golden) -> ModelSpec:
    """Give a spec with golden images and a threshold, for the edits below."""
    return colour_spec(golden=golden, threshold=Threshold(0.6, "max_probability", 0.01, 100, 0.02, 100))


@pytest.fixture(params=[('"red","green"', '"green","red"'), ('"value":0.6', '"value":0.1'), ("fp32", "int8")], ids=str)
def edit(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Give a function that edits the spec inside a file and leaves it a spec: no length in the file changes."""
    old, new = (part.encode() for part in request.param)

    def change(path: Path) -> None:
        whole = path.read_bytes()
        assert whole.count(old) == 1
        path.write_bytes(whole.replace(old, new))

    return change


@pytest.fixture
def spawn() -> Callable[..., Ran]:
    """Give a function that runs a command line as a process of its own, with bytes on its stdin."""

    def call(*arguments: object, stdin: bytes = b"", before: Sequence[str] = PROGRAM, **options: Any) -> Ran:
        words = [argument if isinstance(argument, bytes) else str(argument) for argument in arguments]
        done = subprocess.run([*before, *words], input=stdin, capture_output=True, timeout=60, **options)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call
