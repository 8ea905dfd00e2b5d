"""Core ML packages: what they hold, and that their programs answer as the Keras model does."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from facectl_export.formats import coreml
from facectl_runtime.coreml_metadata import graph_digest, read_metadata
from facectl_runtime.engines import format_of
from facectl_runtime.errors import MissingExtraError, ModelError, UsageError
from facectl_runtime.spec import InputSpec, Metrics, ModelSpec, OutputSpec, Provenance, Squash, encode
from helpers import slow

tf_keras = pytest.importorskip("tf_keras")
ct = pytest.importorskip("coremltools")
import mil  # noqa: E402  # it needs both

SIDE = 32
LABELS = ("ämne", "blue", "green")
PIXELS = np.random.default_rng(5).integers(0, 256, (12, SIDE, SIDE, 3), np.uint8)
KERNELS = (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D, tf_keras.layers.Dense)
PIXELS[:4] //= np.uint8(4)
PIXELS[4:8, ..., 0] = 250


def spec_of(**changes):
    source = Provenance("tiny", 0, "0" * 64, "tiny", None, None, {"facectl": "0.1.0"}, "2026-01-02T03:04:05Z")
    return replace(
        ModelSpec(
            name="tiny",
            task="classify",
            precision="fp32",
            labels=LABELS,
            input=InputSpec(SIDE, SIDE, Squash()),
            output=OutputSpec("probabilities", 3),
            provenance=source,
        ),
        **changes,
    )


def network(first=None, embeds=False):
    """Build random layers of each kind that the backbones have, whose answers differ from image to image."""
    from tf_keras import layers

    tf_keras.utils.set_random_seed(4)
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    x = (first or layers.Rescaling(1 / 127.5, -1.0, name="rescale"))(image)
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.1)(x))
    skipped = layers.Conv2D(64, 1)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(skipped)
    x = layers.Concatenate()([layers.MaxPooling2D(2)(layers.Add()([x, skipped])), layers.AveragePooling2D(2)(x)])
    x = layers.Conv2D(64, 3, padding="valid", activation="relu")(x)
    x = layers.Dense(48, activation="relu")(layers.GlobalAveragePooling2D()(x))
    if embeds:
        x = layers.UnitNormalization(name="embedding")(layers.Dense(8)(x))
    else:
        sharp = tf_keras.initializers.RandomNormal(stddev=3)
        x = layers.Dense(3, "softmax", kernel_initializer=sharp, bias_initializer="ones", name="probabilities")(x)
    model = tf_keras.Model(image, x)
    for _ in range(4):
        model(PIXELS, training=True)  # the batch norm learns what it sees
    return model


def answers(path):
    return mil.answers(path, PIXELS)[0]


def size(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def weight_bytes(path):
    return (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").read_bytes()


@pytest.fixture(scope="module")
def tiny():
    return network()


@pytest.fixture(scope="module")
def expected(tiny):
    found = tiny(PIXELS).numpy()
    assert found.std(0).min() > 0.02  # or agreement would say nothing
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("coreml")


@pytest.fixture(scope="module")
def full(tiny, folder):
    coreml.write_float(tiny, spec_of(), folder / "full.mlpackage", half=False, ios=16)
    return folder / "full.mlpackage"


@pytest.fixture(scope="module")
def half(tiny, folder):
    coreml.write_float(tiny, spec_of(), folder / "half.mlpackage", half=True, ios=16)
    return folder / "half.mlpackage"


def test_a_float_program_answers_as_keras_does(full, half, expected):
    assert np.abs(answers(full) - expected).max() < 1e-5
    difference = np.abs(answers(half) - expected).max()
    assert 0 < difference < 0.01
    assert size(half) < 0.6 * size(full)
    assert mil.answers(half, PIXELS)[1] == [LABELS[row.argmax()] for row in expected]


@pytest.mark.parametrize(("ios", "version"), [(15, 6), slow(16, 7), slow(17, 8), (18, 9)])
def test_a_classifier_takes_an_rgb_image_and_names_its_class(tiny, tmp_path, ios, version):
    path = tmp_path / "tiny.mlpackage"
    coreml.write_float(tiny, spec_of(), path, half=True, ios=ios)
    made = ct.utils.load_spec(str(path))
    (image,) = made.description.input
    assert made.specificationVersion == version
    assert image.name == "image"
    assert (image.type.imageType.width, image.type.imageType.height) == (SIDE, SIDE)
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    assert [output.name for output in made.description.output] == ["classLabel", "classLabel_probs"]
    assert made.description.predictedFeatureName == "classLabel"
    assert made.description.predictedProbabilitiesName == "classLabel_probs"


def test_an_unknown_ios_says_which_there_are(tiny, tmp_path):
    with pytest.raises(UsageError, match="--ios 14: not known; use 15, 16, 17, 18"):
        coreml.write_float(tiny, spec_of(), tmp_path / "a.mlpackage", half=True, ios=14)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("halved", [False, True])
def test_an_embedder_gives_one_array(tmp_path, halved):
    model, path = network(embeds=True), tmp_path / "face.mlpackage"
    output = OutputSpec("embedding", 8)
    coreml.write_float(model, spec_of(task="embed", labels=(), output=output, embedding_id="a/b"), path, halved, 16)
    (array,) = ct.utils.load_spec(str(path)).description.output
    assert array.name == "embedding"
    assert array.type.multiArrayType.dataType == array.type.multiArrayType.FLOAT32
    assert list(array.type.multiArrayType.shape) == [1, 8]
    found = answers(path)
    assert np.abs(found - model(PIXELS).numpy()).max() < (0.01 if halved else 1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_standardisation_and_softmax_are_never_halved(tmp_path):
    """The sum over an image's pixels, and the squares of bright ones, are more than a 16-bit float can hold."""
    from facectl_trainer.backbones.standardise import PerImageStandardisation

    model, path = network(PerImageStandardisation(name="standardise", dtype="float32")), tmp_path / "face.mlpackage"
    coreml.write_float(model, spec_of(), path, half=True, ios=16)
    types = ct.converters.mil.mil.types
    ops = [op for op in mil.operations(path) if op.op_type not in ("const", "cast", "classify")]
    before_the_layers = ops[: [op.op_type for op in ops].index("conv")]
    halved = [op for op in ops if op.outputs[0].dtype == types.fp16]
    assert {"reduce_mean", "sqrt"} <= {op.op_type for op in before_the_layers}
    assert not {op.name for op in halved} & {op.name for op in [*before_the_layers, ops[-1]]}
    assert ops[-1].op_type == "softmax"
    assert {op.op_type for op in halved} >= {"conv", "linear"}
    assert np.abs(answers(path) - model(PIXELS).numpy()).max() < 0.01


@pytest.mark.parametrize(
    ("name", "write", "tolerance", "share"),
    [
        ("int8-weights", coreml.write_int8_weights, 0.05, 0.6),
        ("palette8", lambda half, path: coreml.write_palette(half, path, 8), 0.05, 0.65),
        ("palette6", lambda half, path: coreml.write_palette(half, path, 6), 0.2, 0.55),
        ("palette4", lambda half, path: coreml.write_palette(half, path, 4), 0.6, 0.5),
    ],
)
def test_smaller_weights_answer_nearly_alike(half, expected, tmp_path, name, write, tolerance, share):
    path = tmp_path / f"{name}.mlpackage"
    write(half, path)
    found = answers(path)
    assert 0 < np.abs(found - expected).max() < tolerance
    assert found.sum(1) == pytest.approx(1, abs=1e-3)
    assert size(path) < share * size(half)
    counted = coreml.weights_share(path)
    assert (counted.ops, counted.ops_of) == (0, coreml.weights_share(half).ops_of)
    assert 0.9 * counted.weights_of < counted.weights < counted.weights_of  # the smallest are not worth it


def test_a_palette_holds_no_more_values_than_its_bits_allow(half, tmp_path):
    path = tmp_path / "palette4.mlpackage"
    coreml.write_palette(half, path, 4)
    few = {}
    for op in mil.operations(path):
        if op.op_type == "conv":
            weight = op.inputs["weight"]
            values = weight.val if weight.val is not None else weight.op.materialized_val_inference()
            # In 32 bits: numpy 2.4 sorts 16-bit floats wrongly on some processors with AVX-512.
            few[values.shape] = len(np.unique(values.astype(np.float32)))
    assert few[64, 128, 3, 3] <= 16  # over half of all weights
    assert few[64, 64, 3, 3] > 16
    assert few[16, 1, 3, 3] > 16


def test_weights_of_a_float_program_are_all_counted(tiny, half):
    layers = [layer for layer in tiny.layers if isinstance(layer, KERNELS)]
    counted = coreml.weights_share(half)
    assert (counted.ops, counted.weights) == (0, 0)
    assert counted.ops_of == len(layers)
    assert counted.weights_of == sum(layer.get_weights()[0].size for layer in layers)


def test_a_pruned_program_is_smaller_and_answers_the_same(half, tmp_path):
    model = network()
    for layer in model.layers:
        if isinstance(layer, KERNELS):
            kernel, *others = layer.get_weights()
            kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0
            layer.set_weights([kernel, *others])
    whole, sparse = tmp_path / "whole.mlpackage", tmp_path / "sparse.mlpackage"
    coreml.write_float(model, spec_of(), whole, half=True, ios=16)
    coreml.write_sparse(whole, sparse)
    assert np.array_equal(answers(sparse), answers(whole))
    assert size(sparse) < 0.75 * size(whole)
    coreml.write_sparse(half, tmp_path / "dense.mlpackage")  # nothing in it is zero
    assert weight_bytes(tmp_path / "dense.mlpackage") == weight_bytes(half)


@pytest.fixture(scope="module")
def old(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("packages") / "old.mlpackage"
    coreml.write_float(tiny, spec_of(), path, half=True, ios=15)
    return path


@pytest.mark.parametrize(
    "write", [coreml.write_int8_weights, coreml.write_sparse, lambda half, path: coreml.write_palette(half, path, 6)]
)
def test_compressed_weights_are_refused_before_ios_16(old, tmp_path, write):
    with pytest.raises(UsageError, match=r"old\.mlpackage: it is made for iOS 15.*--ios 16"):
        write(old, tmp_path / "new.mlpackage")
    assert not (tmp_path / "new.mlpackage").exists()


def test_a_spec_is_written_in_the_place_of_another(full, expected, tmp_path):
    path = Path(shutil.copytree(full, tmp_path / "tiny.mlpackage"))
    before = graph_digest(path)
    for spec in (spec_of(gate="unverified"), spec_of(metrics=Metrics(0.9, 50, (0.78, 0.96)), gate="passed")):
        coreml.write_spec(path, spec)
        assert format_of(path).read_spec(path) == replace(spec, graph_sha256=before)
        assert graph_digest(path) == before
    assert weight_bytes(path) == weight_bytes(full)
    assert answers(path) == pytest.approx(expected, abs=1e-5)
    assert [found.name for found in tmp_path.iterdir()] == ["tiny.mlpackage"]
    assert sorted(f.name for f in path.rglob("*")) == sorted(f.name for f in full.rglob("*"))


def test_what_xcode_shows_says_the_same_in_words(full, tmp_path):
    path = Path(shutil.copytree(full, tmp_path / "tiny.mlpackage"))
    source = replace(spec_of().provenance, weights_sha256="1" * 64, weights_licence="Apache-2.0")
    coreml.write_spec(
        path, spec_of(metrics=Metrics(0.9, 50, (0.78, 0.96)), gate="passed", precision="fp16", provenance=source)
    )
    shown = ct.utils.load_spec(str(path)).description.metadata
    assert shown.author == "facectl"
    assert shown.versionString == "2026-01-02T03:04:05Z"
    assert "Pretrained weights: Apache-2.0" in shown.license
    assert shown.shortDescription.startswith("tiny (fp16); one of 3 classes; right on 90.0% of 50 test images")
    assert "passed" in shown.shortDescription
    assert dict(shown.userDefined) == read_metadata(path)


def test_a_spec_needs_a_package(tmp_path):
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(ModelError, match=r"empty\.mlpackage: .*no Manifest"):
        coreml.write_spec(tmp_path / "empty.mlpackage", spec_of())


def test_one_run_exported_twice_has_one_digest(tiny, full, half, tmp_path):
    for before, halved in ((full, False), (half, True)):
        again = tmp_path / before.name
        coreml.write_float(tiny, spec_of(), again, halved, 16)
        assert graph_digest(again) == graph_digest(before)
    first, second = tmp_path / "first.mlpackage", tmp_path / "second.mlpackage"
    for path in (first, second):
        coreml.write_palette(half, path, 4)
    assert graph_digest(first) == graph_digest(second) != graph_digest(half)


PROGRAM = """
import sys
from pathlib import Path
from facectl_export.formats import coreml
from facectl_runtime.spec import decode
from facectl_trainer.framework import tensorflow
tensorflow()
from tf_keras import Input, Model, layers

place, spec = Path(sys.argv[1]), decode(sys.argv[2], "spec")
image = Input((32, 32, 3), dtype="uint8")
x = layers.Conv2D(64, 5)(layers.Rescaling(1 / 255)(image))
model = Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
coreml.write_float(model, spec, place / "half.mlpackage", True, 16)
for name in ("int8_weights", "sparse"):
    getattr(coreml, "write_" + name)(place / "half.mlpackage", place / (name + ".mlpackage"))
coreml.write_palette(place / "half.mlpackage", place / "palette.mlpackage", 8)
coreml.write_spec(place / "palette.mlpackage", spec)
coreml.weights_share(place / "palette.mlpackage")
"""


def test_nothing_is_said_on_the_way(tmp_path):
    words = [sys.executable, "-c", PROGRAM, tmp_path, encode(spec_of())]
    ran = subprocess.run(words, capture_output=True, timeout=300)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert read_metadata(tmp_path / "palette.mlpackage")["facectl.spec"]


def test_a_missing_package_is_named(monkeypatch):
    coreml.require_packages()
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(MissingExtraError, match=r"needs coremltools; install it with: pip install 'facectl\[export\]'"):
        coreml.require_packages()
