"""An embedding of faces in a few nodes, and photographs to try it on.

It is a random projection of the pixels: one photograph has one embedding, also where it is pasted into another one, and
those of different people differ. With YuNet before it, it is a whole face kit of 2 MB.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facectl_runtime.faces.detect import DETECTOR
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, OutputSpec, Threshold
from galleries import digest, unit, write

SHARED = Path(__file__).parents[4] / "shared"
LFW = Path(os.environ.get("FACECTL_TEST_DATA", SHARED / "data")) / "lfw"
WEIGHTS = Path(os.environ.get("FACECTL_WEIGHTS_DIR", SHARED / "weights"))
SIDE, SIZE = 64, 32
# Where ArcFace has the five points in 112 pixels, in 64.
ALIGNED = FaceAlign(((21.88, 29.54), (42.02, 29.43), (32.01, 40.99), (23.74, 52.78), (40.42, 52.69)))
ONE_PERSON = 0.95  # of one photograph the cosine is above it, of those of two people hardly ever
THRESHOLD = Threshold(ONE_PERSON, "cosine", 0.001, 5000, 0.4, 100)


def face_graph() -> onnx.ModelProto:
    """Pixels without their mean, projected, L2 norm 1: uint8 N × 64 × 64 × 3 → float32 N × 32."""
    weights = np.random.default_rng(0).standard_normal((SIDE * SIDE * 3, SIZE))
    weights -= weights.mean(axis=0)  # so that how bright a picture is does not count
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", SIZE])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


@pytest.fixture(scope="session")
def lfw() -> Path:
    """Give the folder of LFW's photographs, 250 × 250 pixels, a folder a person."""
    if not LFW.is_dir() or not (WEIGHTS / DETECTOR.file).is_file():
        pytest.skip(f"no photographs at {LFW}, or no {DETECTOR.file} in {WEIGHTS}")
    return LFW


@pytest.fixture(autouse=True, scope="module")
def _weights() -> Iterator[None]:
    """Say where the detector is, to fixtures of a module too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_WEIGHTS_DIR", str(WEIGHTS))
        yield


@pytest.fixture(scope="session")
def make_embedder(colours: SimpleNamespace) -> Callable[..., Path]:
    """Give a function that writes an embedder; changes are those of its spec."""

    def make(path: Path, resize: Any = ALIGNED, **changes: Any) -> Path:
        more = {"embedding_id": "faces/projected", "threshold": THRESHOLD, **changes}
        spec = colours.spec(
            name="faces", task="embed", labels=(), input=InputSpec(SIDE, SIDE, resize),
            output=OutputSpec("embedding", SIZE), **more,
        )  # fmt: skip
        return colours.save(path, spec, face_graph())

    return make


@pytest.fixture(scope="session")
def face_model(make_embedder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("faces") / "faces.onnx")


@pytest.fixture(scope="session")
def crop_model(make_embedder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an embedder that aligns nothing, and has no threshold."""
    path = tmp_path_factory.mktemp("crops") / "crops.onnx"
    return make_embedder(path, CenterCrop(0.75), embedding_id="crops/projected", threshold=None)


@pytest.fixture(scope="session")
def people(lfw: Path) -> list[Path]:
    """Give a photograph each of thirty people, in the order of their names, on which one face alone is large."""
    names = sorted(path.name for path in lfw.iterdir() if path.is_dir())
    return [lfw / name / f"{name}_0001.jpg" for name in names[:30]]


@pytest.fixture(scope="session")
def crowd(people: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paste thirty photographs into one, six in a row."""
    picture = Image.new("RGB", (1500, 1250))
    for number, path in enumerate(people):
        with Image.open(path) as one:
            picture.paste(one, (number % 6 * 250, number // 6 * 250))
    path = tmp_path_factory.mktemp("crowd") / "crowd.png"
    picture.save(path)
    return path


@pytest.fixture(scope="session")
def several(lfw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a folder each of twelve people, two photographs in it."""
    folder = tmp_path_factory.mktemp("several") / "people"
    some = [path for path in sorted(lfw.iterdir()) if path.is_dir() and len(list(path.iterdir())) > 1]
    for person in some[:12]:
        (folder / person.name).mkdir(parents=True)
        for photograph in sorted(person.iterdir())[:2]:
            shutil.copy(photograph, folder / person.name)
    return folder


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Paint a picture that is nobody."""
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


@pytest.fixture
def nobody() -> Callable[[], AbstractContextManager[None]]:
    """Give a context in which one is a user who may not write everywhere, where the tests are run by root."""

    @contextmanager
    def become() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return become


@pytest.fixture
def file(tmp_path):
    return tmp_path / "people.gallery"


@pytest.fixture
def full(file):
    """Give a gallery of two people, of three photographs and one."""
    with write(file) as gallery:
        for number, name in enumerate(("Zoë", "Ann", "Zoë", "Zoë")):
            gallery.add(name, unit(1, number), f"{name}-{number}.jpg", digest(number))
    return file


@pytest.fixture
def gallery(tmp_path):
    return tmp_path / "family.gallery"


@pytest.fixture
def enroll(facectl, gallery, face_model):
    """Give a function that enrols with the model that aligns faces."""
    return lambda *words, model=face_model: facectl("faces", "enroll", gallery, *words, "--model", model)
