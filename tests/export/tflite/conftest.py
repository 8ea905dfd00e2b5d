"""TFLite files of tiny networks, each converted once, and the ranges of their tensors."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE, _spec, tiny_model
from facectl_export.formats import tflite
from facectl_runtime.spec import OutputSpec
from facectl_trainer.framework import tensorflow
from tflite_networks import LABELS, branching, embedding

pytest.importorskip("ai_edge_quantizer")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Convert each network once; give file, network and spec by name."""
    tensorflow()
    folder = tmp_path_factory.mktemp("tflite")
    spec = _spec("tiny", LABELS, 0)
    embed = msgspec.structs.replace(
        spec, task="embed", labels=(), output=OutputSpec("embedding", 5), embedding_id="tiny/bottleneck"
    )
    networks = {
        "flat": (tiny_model(3, flatten=True), spec),
        "branching": (branching(), spec),
        "embedding": (embedding(), embed),
    }
    found = {}
    for name, (network, described) in networks.items():
        path = folder / f"{name}.tflite"
        tflite.write_fp32(network, described, path)
        found[name] = SimpleNamespace(path=path, network=network, spec=described)
    return found


@pytest.fixture(scope="session")
def pixels():
    """Ramps and noise: every pixel value, and no two images alike."""
    chance, ramp = np.random.default_rng(0), np.linspace(0, 255, SIDE)
    images = [np.clip(ramp[:, None, None] * chance.random(3) + chance.normal(0, 30, (SIDE, SIDE, 3)), 0, 255)
              for _ in range(12)]  # fmt: skip
    return np.array(images, np.uint8)


@pytest.fixture(scope="session")
def ranges(made, pixels):
    return {name: calibrated(tflite, one.path, [pixels[:8], pixels[8:]], "minmax") for name, one in made.items()}
