"""A classifier of colours as a Core ML package with a spec: by hand, in 16-bit floats, and right."""

import io

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.spec import (
    Golden,
    GoldenImage,
    InputSpec,
    Metrics,
    ModelSpec,
    OutputSpec,
    Provenance,
    Squash,
)

SIDE = 32
LABELS = ("blue", "green", "red")


@pytest.fixture(scope="session")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """Write it; tests may read it and none may change it."""
    ct = pytest.importorskip("coremltools")
    pytest.importorskip("tensorflow")
    from facectl_export.formats import coreml
    from mil import answers

    path = tmp_path_factory.mktemp("package") / "colours.mlpackage"
    convert(ct).save(str(path))
    pictures = np.random.default_rng(4).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    rows, _ = answers(path, pictures)
    images = tuple(
        GoldenImage(png(one), tuple(map(float, row.tolist()))) for one, row in zip(pictures, rows, strict=True)
    )
    coreml.write_spec(path, spec(Golden(images, 0.02)))
    return path


def convert(ct):
    """Make the mean colour's softmax, with a convolution before it."""
    from coremltools.converters.mil import Builder as mb

    kernel = np.random.default_rng(0).normal(0, 0.02, (3, 3, 3, 3)).astype(np.float32)
    kernel[[0, 1, 2], [2, 1, 0], 1, 1] += 1

    @mb.program([mb.TensorSpec((1, 3, SIDE, SIDE))], opset_version=ct.target.iOS16)
    def program(image):
        x = mb.conv(x=mb.mul(x=image, y=np.float32(1 / 32)), weight=kernel, pad_type="same")
        return mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3]), name="probabilities")

    return ct.convert(
        program,
        inputs=[ct.ImageType("image", (1, 3, SIDE, SIDE), color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(list(LABELS)),
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )


def spec(golden):
    source = Provenance("zoo", 0, "0" * 64, "tiny", None, None, {"facectl": "0.1.0"}, "2026-01-02T03:04:05Z")
    return ModelSpec(
        name="colours",
        task="classify",
        precision="fp16",
        gate="passed",
        labels=LABELS,
        input=InputSpec(SIDE, SIDE, Squash()),
        output=OutputSpec("probabilities", len(LABELS)),
        provenance=source,
        metrics=Metrics(1.0, 45, (0.92, 1.0)),
        golden=golden,
    )


def png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
