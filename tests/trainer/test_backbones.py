"""Every backbone: flat, named alike on every build, and of the shapes that its entry promises."""

from functools import cache

import numpy as np
import pytest

from facectl_runtime.errors import ModelError, UsageError
from facectl_trainer.backbones import BACKBONES, backbone
from helpers import slow

tf_keras = pytest.importorskip("tf_keras")

# At 64 pixels, or at the least that the network takes.
SHAPES = {
    "efficientnet_lite0": (2, 2, 1280),
    "efficientnet_lite1": (2, 2, 1280),
    "efficientnet_lite2": (2, 2, 1280),
    "mobilenet_v2": (2, 2, 1280),
    "mobilenet_v3": (2, 2, 960),
    "resnet50": (2, 2, 2048),
    "vgg16": (2, 2, 512),
    "inception_v3": (1, 1, 2048),
    "efficientnet_b0": (2, 2, 1280),
    "inception_resnet_v1": (128,),
    "convnet": (4, 4, 64),
    "convnet_bn": (4, 4, 64),
}
DEFAULT_SHAPES = {"efficientnet_lite0": (7, 7, 1280), "convnet": (8, 8, 64), "convnet_bn": (8, 8, 64)}
NAMED = {
    "mobilenet_v2": {"Conv1", "block_13_expand"},
    "mobilenet_v3": {"Conv", "multiply", "multiply_19"},
    "resnet50": {"conv1_conv", "conv5_block1_1_conv"},
    "vgg16": {"block5_conv1"},
    "inception_v3": {"conv2d", "conv2d_93", "activation_93", "mixed0", "mixed10"},
    "efficientnet_b0": {"stem_conv", "normalization", "block7a_expand_conv", "top_conv"},
}


# Of one kind with a smaller one, or long in the making.
LARGE = {"efficientnet_lite1", "efficientnet_lite2", "inception_v3", "efficientnet_b0", "inception_resnet_v1"}
EACH = [slow(name) if name in LARGE else name for name in BACKBONES]


def small_side(entry):
    return max(entry.smallest, 64)


@cache
def make(name, side=None):
    entry = backbone(name)
    return entry.build(side or small_side(entry), entry.preprocess, None)


@pytest.mark.parametrize("name", EACH)
def test_a_backbone_maps_pixels_to_floats_of_the_stated_shape(name):
    model, side = make(name), small_side(BACKBONES[name])
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    answer = model(pixels).numpy()
    assert model.input.dtype == "uint8"
    assert model.input_shape == (None, side, side, 3)
    assert answer.shape == (2, *SHAPES[name])
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    assert not np.array_equal(answer[0], answer[1])


@pytest.mark.parametrize("name", EACH)
def test_it_is_flat_and_named_alike_at_its_smallest_side(name):
    entry = BACKBONES[name]
    model, again = make(name), make(name, entry.smallest)
    names = [layer.name for layer in model.layers]
    assert entry.name == name == model.name
    assert not any(isinstance(layer, tf_keras.Model) for layer in model.layers)
    assert names == [layer.name for layer in again.layers]
    assert len(set(names)) == len(names)
    assert NAMED.get(name, set()) <= set(names)
    assert not any(isinstance(layer, tf_keras.layers.Lambda) for layer in model.layers)
    assert [layer.name for layer in tf_keras.models.clone_model(again).layers] == names  # as quantizers do


@pytest.mark.parametrize("name", DEFAULT_SHAPES)
def test_it_builds_at_its_default_side(name):
    assert make(name, BACKBONES[name].side).output_shape[1:] == DEFAULT_SHAPES[name]


@pytest.mark.parametrize("name", [name for name, entry in BACKBONES.items() if entry.weights])
def test_another_file_is_no_weights(name, tmp_path):
    entry, path = BACKBONES[name], tmp_path / "weights"
    path.write_bytes(b"a page that says 404")
    with pytest.raises(ModelError, match=f"^{path}: ") as caught:
        entry.build(entry.smallest, entry.preprocess, path)
    assert "\n" not in str(caught.value)


def test_the_table_of_weights_is_whole():
    for entry in BACKBONES.values():
        assert len({weights.name for weights in entry.weights}) == len(entry.weights)
        for weights in entry.weights:
            kind, digest = weights.digest.split(":")
            assert len(digest) == {"sha256": 64, "md5": 32, "values": 64}[kind]
            assert weights.size if weights.url or weights.index else not weights.size
            assert weights.index is None or len(weights.index.sha256) == 64


def test_an_unknown_backbone_lists_those_there_are():
    with pytest.raises(UsageError, match=r"'efficientnet_lite'; did you mean 'efficientnet_lite\d'\?; there are "):
        backbone("efficientnet_lite")
    with pytest.raises(UsageError, match=r"'x'; there are efficientnet_lite0, .*, convnet_bn$"):
        backbone("x")
