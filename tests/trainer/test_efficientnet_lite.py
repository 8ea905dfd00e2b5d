"""EfficientNet-Lite0 answers as the PyTorch network that its weights come from (see data/make_..._reference.py)."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from facectl_runtime.errors import ModelError
from facectl_trainer.backbones import backbone, efficientnet_lite
from facectl_trainer.pth import read_state_dict
from facectl_trainer.weights import find

tf_keras = pytest.importorskip("tf_keras")

DATA = Path(__file__).parent / "data"
REFERENCE = json.loads((DATA / "efficientnet_lite0_reference.json").read_text())
LAYERS = {
    "InputLayer",
    "Rescaling",
    "Conv2D",
    "DepthwiseConv2D",
    "BatchNormalization",
    "ReLU",
    "Add",
}
RELATIVE = 1e-4  # of a layer's standard deviation; measured: 7e-6


@pytest.fixture(scope="module")
def weights():
    return weights_of("efficientnet_lite0")


def weights_of(name):
    weights = backbone(name).weights
    found = find(weights, weights)
    if found is None:
        pytest.skip(f"no {weights[0].file}; install {weights[0].package}, or name its folder in FACECTL_WEIGHTS_DIR")
    return found.path


@pytest.fixture(scope="module")
def model(weights):
    return backbone("efficientnet_lite0").build(224, "lite", weights)


@pytest.fixture(scope="module")
def answers(model):
    """Every image's answers by layer's name."""
    images = runpy.run_path(str(DATA / "make_efficientnet_lite0_reference.py"))["inputs"]()
    names = [*REFERENCE["smooth"]["layers"], "features"]
    outputs = {name: model.get_layer(name).output for name in REFERENCE["smooth"]["layers"]}
    outputs["features"] = tf_keras.layers.GlobalAveragePooling2D()(model.output)
    probe = tf_keras.Model(model.input, outputs)
    batch = probe.predict(np.stack(list(images.values())), verbose=0)
    return {image: {name: batch[name][at] for name in names} for at, image in enumerate(images)}


@pytest.mark.parametrize("layer", REFERENCE["smooth"]["layers"])
@pytest.mark.parametrize("image", REFERENCE)
def test_a_block_answers_as_in_pytorch(answers, image, layer):
    expected, met = REFERENCE[image]["layers"][layer], answers[image][layer]
    tolerance = RELATIVE * expected["std"]
    assert list(met.shape) == expected["shape"]
    np.testing.assert_allclose(met.ravel()[expected["at"]], expected["values"], rtol=0, atol=tolerance)
    np.testing.assert_allclose([met.mean(), met.std()], [expected["mean"], expected["std"]], rtol=0, atol=tolerance)


@pytest.mark.parametrize("image", REFERENCE)
def test_the_features_are_pytorch_s(answers, image):
    expected, met = REFERENCE[image], answers[image]["features"]
    np.testing.assert_allclose(met[:16], expected["features"], rtol=0, atol=RELATIVE * max(expected["features"]))
    assert np.linalg.norm(met) == pytest.approx(expected["norm"], rel=RELATIVE)


def test_the_model_is_flat_and_of_built_in_layers(model):
    assert {type(layer).__name__ for layer in model.layers} == LAYERS
    assert all(type(layer).__module__.startswith("tf_keras.src.") for layer in model.layers)


def test_another_build_has_the_same_names_and_random_values(model):
    other = backbone("efficientnet_lite0").build(224, "lite", None)
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in other.layers]
    assert {"stem_conv", "block3b_expand_conv", "block5c_depthwise_bn", "block6d_add", "head_bn"} <= set(names)
    assert not np.array_equal(*(net.get_layer("stem_conv").get_weights()[0] for net in (model, other)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("_blocks.3._bn1.running_var"), "_blocks.3._bn1.running_var is missing"),
        (lambda state: state.update(surplus=np.zeros(3)), "no place .* 'surplus'"),
        (lambda state: state.update({"_conv_stem.weight": np.zeros((32, 3, 3))}), "_conv_stem.weight has the shape"),
        (lambda state: state.update({"_bn0.bias": np.zeros(31)}), r"_bn0.bias has the shape \(31,\), not \(32,\)"),
    ],
)
def test_other_weights_are_refused(monkeypatch, weights, change, words):
    state = read_state_dict(weights)
    change(state)
    monkeypatch.setattr(efficientnet_lite, "read_state_dict", lambda _path: state)
    with pytest.raises(ModelError, match=words):
        backbone("efficientnet_lite0").build(224, "lite", weights)


@pytest.mark.parametrize(("variant", "millions"), [(efficientnet_lite.LITE1, 5.4), (efficientnet_lite.LITE2, 6.1)])
def test_the_larger_variants_have_the_published_number_of_parameters(variant, millions):
    model = efficientnet_lite.build(variant, variant.side, "lite")
    classifier = 1000 * (efficientnet_lite.FEATURES + 1)
    assert (
        round((sum(weight.shape.num_elements() for weight in model.trainable_weights) + classifier) / 1e6, 1)
        == millions
    )


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_variants_read_their_own_weights_and_no_other_s(name, weights):
    entry = backbone(name)
    with pytest.raises(ModelError, match=f"not the weights of {name}"):
        entry.build(entry.side, "lite", weights)
    stem = entry.build(entry.side, "lite", weights_of(name)).get_layer("stem_conv").get_weights()[0]
    assert np.abs(stem).max() > 0.5  # random ones stay below 0.15
