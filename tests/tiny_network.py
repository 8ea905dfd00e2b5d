"""A small branching backbone with weights of its own, so that every kind of stage is trained in a second."""

import hashlib
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facectl_runtime.devices import Device
from facectl_runtime.spec import Squash
from facectl_trainer.backbones import Backbone
from facectl_trainer.backbones.preprocess import image_input, preprocessed
from facectl_trainer.job import Job
from facectl_trainer.recipe import Recipe, SplitPlan, StagePlan
from facectl_trainer.weights import Weights

SIDE = 32
TINY = """
about = "Two steps."
backbone = "tiny"
resize = { kind = "squash" }
split = { test = 0.25, val = 0.2 }
augment = { rotation = 20, flip = true }

[[stages]]
train = "head"
optimizer = "adam"
rate = 1e-2
epochs = 2
patience = 2

[variant.top]
stages = [{ train = "top", optimizer = "adam", rate = 1e-2, epochs = 2, patience = 2 }]
[variant.scratch]
weights = "none"
stages = [{ train = "all", optimizer = "adam", rate = 1e-2, epochs = 2, patience = 2 }]
"""

KNOWN = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import tiny_network
from facectl_trainer.backbones import BACKBONES
BACKBONES["tiny"] = tiny_network.install(Path(os.environ["FACECTL_WEIGHTS_DIR"]))
"""  # for a process of its own


def build(side, preprocess, weights=None):
    """Make it: two branches that are added and joined, and a batch norm in one of them; 8 channels."""
    from tf_keras import Model, layers

    image = image_input(side)
    x = layers.Conv2D(4, 3, 2, padding="same", name="stem")(preprocessed(image, preprocess))
    x = layers.ReLU(name="stem_relu")(x)
    left = layers.Conv2D(4, 3, padding="same", name="left")(x)
    right = layers.BatchNormalization(name="right_bn")(layers.Conv2D(4, 1, name="right")(x))
    x = layers.Concatenate(name="both")([layers.Add(name="sum")([left, right]), left])
    x = layers.MaxPooling2D(4, name="pool")(x)
    x = layers.ReLU(name="top_relu")(layers.Conv2D(8, 3, 2, padding="same", name="top")(x))
    model = Model(image, x, name="tiny")
    if weights is not None:
        with np.load(weights) as arrays:
            model.set_weights([arrays[f"arr_{number}"] for number in range(len(arrays.files))])
    return model


def install(folder: Path) -> Backbone:
    """Write weights into `folder`, and give the backbone that has them."""
    import tf_keras

    tf_keras.utils.set_random_seed(11)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.npz"
    np.savez(file, *build(SIDE, "unit").get_weights())
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    return Backbone("tiny", SIDE, 16, (Weights("drawn", file.name, digest, "MIT", "unit"),), "unit", build)


def stage(train="head", rate=1e-2, epochs=2, **more):
    return StagePlan(train, more.pop("optimizer", "adam"), rate, epochs, more.pop("patience", 99), **more)


def recipe(*stages, **more):
    return Recipe("tiny", Squash(), SplitPlan(0.25, 0.2), stages or (stage(),), **more)


def job(data, out, given=None, **more):
    return Job("mine", given or recipe(), data, out, Device("cpu"), report=False, **more)


@contextmanager
def full_disk():
    """Let files be written no further than 100 bytes: what a full disk does, in one process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
