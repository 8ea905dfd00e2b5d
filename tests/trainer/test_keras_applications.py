"""Our graphs answer as `tf_keras.applications` does after its own preprocessing, and read its files."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from facectl_runtime.errors import ModelError
from facectl_trainer.backbones import backbone
from facectl_trainer.weights import find
from helpers import slow

tf_keras = pytest.importorskip("tf_keras")

DATA = Path(os.environ.get("FACECTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIDE = 75
PLAIN = {
    "mobilenet_v2": ("mobilenet_v2", "MobileNetV2"),
    "mobilenet_v3": ("mobilenet_v3", "MobileNetV3Large"),
    "resnet50": ("resnet50", "ResNet50"),
    "vgg16": ("vgg16", "VGG16"),
    "inception_v3": ("inception_v3", "InceptionV3"),
    "efficientnet_b0": ("efficientnet", "EfficientNetB0"),
}
IMAGENET_MEAN, IMAGENET_DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def plain(name):
    """Make the network as tf_keras has it, with statistics for its batch norms that tell layers apart."""
    module, application = PLAIN[name]
    model = getattr(tf_keras.applications, application)(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            *affine, mean, variance = layer.get_weights()
            layer.set_weights([*affine, random.normal(0, 0.1, mean.shape), random.uniform(0.5, 1, variance.shape)])
        if isinstance(layer, tf_keras.layers.Normalization):
            layer.set_weights([IMAGENET_MEAN, IMAGENET_DEVIATION**2, 0])
            layer.finalize_state()
    return model, getattr(tf_keras.applications, module).preprocess_input


def official(model, path):
    """Save as the official file: of EfficientNet-B0 it has the deviation for the variance."""
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        for name in file:
            if name.startswith("normalization"):
                layer = file[name]
                layer[layer.attrs["weight_names"][1]][...] = IMAGENET_DEVIATION
    return path


LARGE = {"inception_v3", "efficientnet_b0"}


@pytest.mark.parametrize("name", [slow(name) if name in LARGE else name for name in PLAIN])
def test_it_answers_as_keras_after_its_own_preprocessing(name, tmp_path):
    model, preprocess = plain(name)
    entry = backbone(name)
    ours = entry.build(SIDE, entry.weights[0].preprocess, official(model, tmp_path / "weights.h5"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    expected = model(preprocess(pixels.astype(np.float32))).numpy()
    np.testing.assert_allclose(ours(pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_torch_mode_is_imagenet_s_mean_and_deviation(tmp_path):
    model, _ = plain("vgg16")
    model.save_weights(tmp_path / "weights.h5")
    ours = backbone("vgg16").build(SIDE, "torch", tmp_path / "weights.h5")
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    expected = model((pixels / np.float32(255) - IMAGENET_MEAN) / IMAGENET_DEVIATION).numpy()
    np.testing.assert_allclose(ours(pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_half_precision_values_are_read_as_single(tmp_path):
    model, _ = plain("mobilenet_v2")
    model.save_weights(tmp_path / "single.h5")
    with h5py.File(tmp_path / "single.h5") as single, h5py.File(tmp_path / "half.h5", "w") as half:
        half.attrs["layer_names"] = single.attrs["layer_names"]
        for name in single.attrs["layer_names"]:
            group = half.create_group(name)
            group.attrs["weight_names"] = names = single[name].attrs["weight_names"]
            for values in names:
                group[values] = single[name][values][()].astype(np.float16)
    kernel = backbone("mobilenet_v2").build(SIDE, "tf", tmp_path / "half.h5").get_layer("Conv1").get_weights()[0]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, model.get_layer("Conv1").get_weights()[0], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet50", "13 layers with values, not 106; these are not the weights of resnet50"),
        ("efficientnet_b0", "does not begin with ImageNet's mean and deviation"),
        ("inception_resnet_v1", "the file has no layer 'block17_10_branch_0_conv2d_1x1'"),
    ],
)
def test_another_network_s_file_is_refused(name, words, tmp_path):
    plain("vgg16")[0].save_weights(tmp_path / "weights.h5")
    entry = backbone(name)
    with pytest.raises(ModelError, match=words):
        entry.build(SIDE, entry.preprocess, tmp_path / "weights.h5")


def test_a_value_of_another_shape_and_half_a_file_are_refused(tmp_path):
    path = tmp_path / "weights.h5"
    plain("vgg16")[0].save_weights(path)
    whole = path.read_bytes()
    with h5py.File(path, "r+") as file:
        group = file["block3_conv1"]
        name = group.attrs["weight_names"][1]
        del group[name]
        group[name] = np.zeros(7, np.float32)
    with pytest.raises(ModelError, match=r"layer block3_conv1 have the shapes .*\(7,\)\], not .*\(256,\)\]"):
        backbone("vgg16").build(SIDE, "caffe", path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="not a readable file of Keras weights"):
        backbone("vgg16").build(SIDE, "caffe", path)


def test_dropout_has_a_generator_that_can_be_kept():
    model = backbone("efficientnet_b0").build(SIDE, "none", None)
    dropout = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.Dropout)]
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    states = [layer._random_generator._generator.state.numpy() for layer in dropout]
    first = model(pixels, training=True).numpy()
    for layer, state in zip(dropout, states, strict=True):
        layer._random_generator._generator.state.assign(state)
    np.testing.assert_array_equal(model(pixels, training=True), first)
    assert not np.array_equal(model(pixels, training=True), first)


@pytest.mark.parametrize(
    ("name", "least"), [("mobilenet_v2", 0.9), ("resnet50", 0.9), ("inception_v3", 0.9), ("vgg16", 0.75)]
)
def test_pretrained_features_tell_animals_apart(name, least):
    entry = backbone(name)
    found = find(entry.weights, entry.weights)
    if found is None:
        pytest.skip(f"no weights of {name}; name their folder in FACECTL_WEIGHTS_DIR")
    folders = sorted(folder for folder in (DATA / "zoo").glob("*") if folder.is_dir())[:4]
    if len(folders) < 4:
        pytest.skip(f"no photographs under {DATA}/zoo; name their folder in FACECTL_TEST_DATA")
    side = 128
    pixels = np.stack([opened(path, side) for folder in folders for path in sorted(folder.glob("*.jpg"))[:16]])
    classes = np.repeat(np.arange(4), 16)
    model = entry.build(side, found.weights.preprocess, found.path)
    features = model.predict(pixels, batch_size=16, verbose=0).mean((1, 2))
    assert np.mean(nearest_mean(features, classes) == classes[1::2]) >= least


def opened(path, side):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((side, side)))


def nearest_mean(features, classes):
    """Name the odd samples by the class whose even samples' mean points most nearly their way."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    means = np.stack([features[::2][classes[::2] == label].mean(0) for label in range(classes.max() + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return (features[1::2] @ means.T).argmax(1)
