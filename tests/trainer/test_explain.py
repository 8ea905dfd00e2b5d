"""Where a network looked: Grad-CAM finds what the answer comes from, and the command draws it."""

import io

import numpy as np
import pytest
from PIL import Image

from drawn_run import tiny_model
from facectl_runtime.errors import UsageError

tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("matplotlib")

from facectl_trainer import explain  # noqa: E402

SIDE = 64


def detector(flatten=False, skip=False):
    """Build a network that says `there` by how red a place is, and looks at blue for the other class."""
    from tf_keras import layers

    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="colours", use_bias=False)(x)
    x = layers.MaxPooling2D(8, name="cells")(x)
    if skip:  # so that the network cannot be cut in two at one layer
        x = layers.Add(name="sum")([x, layers.Conv2D(2, 1, name="branch", kernel_initializer="zeros")(x)])
    x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
    model = tf_keras.Model(image, layers.Dense(2, activation="softmax", name="probabilities")(x))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, :, 0], kernel[1, 1, :, 1] = (1, -1, -1), (-1, -1, 1)
    model.get_layer("colours").set_weights([kernel])
    last = np.tile(np.eye(2, dtype=np.float32) * 3, (SIDE * SIDE // 64 if flatten else 1, 1))
    model.get_layer("probabilities").set_weights([last, np.zeros(2, np.float32)])
    return model


@pytest.fixture
def planted():
    """Draw a red square and a blue one on grey."""
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pixels[8:24, 40:56] = (255, 0, 0)
    pixels[40:56, 8:24] = (0, 0, 255)
    return pixels


def centre(heat):
    """Give the centre of mass (row, column)."""
    return tuple(float((heat * places).sum() / heat.sum()) for places in np.indices(heat.shape))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shape", [{}, {"flatten": True}, {"skip": True}])
def test_grad_cam_finds_the_planted_square(planted, shape, frozen):
    model = detector(**shape)
    model.trainable = not frozen
    red, blue = (explain.grad_cam(model, planted, number, "colours" if shape else None) for number in (0, 1))
    assert red.shape == (SIDE, SIDE)
    assert red.dtype == np.float32
    assert (red.min(), red.max()) == (0, 1)
    assert centre(red) == pytest.approx((15.5, 47.5), abs=1.5)
    assert centre(blue) == pytest.approx((47.5, 15.5), abs=1.5)


def test_grad_cam_inside_a_branch_that_the_rest_goes_around(planted):
    model = detector(skip=True)
    model.get_layer("branch").set_weights([np.ones((1, 1, 2, 2), np.float32), np.zeros(2, np.float32)])
    assert explain.grad_cam(model, planted, 0, "branch").max() == 1


def test_a_picture_without_any_evidence_gives_an_empty_map(planted):
    grey = np.full_like(planted, 128)
    assert not explain.grad_cam(detector(), grey, 0).any()


def test_grad_cam_leaves_the_network_as_it_was(planted):
    model = detector()
    model.trainable = False
    before = [weight.copy() for weight in model.get_weights()]
    explain.grad_cam(model, planted, 1)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    assert not model.trainable


def test_half_precision_gives_float32(planted):
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = detector()
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    heat = explain.grad_cam(model, planted, 0)
    assert heat.dtype == np.float32
    assert centre(heat) == pytest.approx((15.5, 47.5), abs=1.5)


def test_activation_maps_are_what_the_layer_gives(planted):
    maps = explain.activation_maps(detector(), planted, "cells")
    assert maps.shape == (8, 8, 2)
    assert maps[1, 5, 0] == pytest.approx(1)
    assert maps[5, 1, 1] == pytest.approx(1)
    assert maps[0, 0].tolist() == [0, 0]


def test_layers_are_chosen_where_there_are_maps():
    assert explain.map_layers(detector()) == ["colours", "cells"]
    assert explain.default_layers(tiny_model(3)) == explain.Layers("lower", "upper")


def test_the_upper_layer_is_the_last_of_5_by_5_that_no_branch_goes_around():
    from tf_keras import layers

    image = layers.Input((32, 32, 3), dtype="uint8")
    x = layers.Conv2D(2, 3, 4, padding="same", name="fine")(layers.Rescaling(1 / 255)(image))
    branches = [layers.Conv2D(2, 1, name="branch")(layers.ReLU(name="fine_relu")(x)), layers.ReLU(name="around")(x)]
    x = layers.Conv2D(2, 3, 2, name="coarse")(layers.ZeroPadding2D(name="pad")(layers.Add(name="joint")(branches)))
    model = tf_keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert explain.default_layers(model).upper == "joint"
    assert [explain.map_size(model, layer) for layer in ("joint", "coarse")] == ["8 × 8", "4 × 4 (coarse)"]
    assert explain.default_layers(tiny_model(2, side=8)).upper == "upper"  # none is finer


def test_a_layer_that_is_not_there_and_one_without_maps_are_refused(planted):
    with pytest.raises(UsageError, match=r"no layer 'colour'; did you mean 'colours'\?; there are colours, cells"):
        explain.grad_cam(detector(), planted, 0, "colour")
    with pytest.raises(UsageError, match="'probabilities' gives no maps"):
        explain.activation_maps(detector(), planted, "probabilities")


def test_the_pictures_have_the_size_of_what_they_show(planted):
    heat = explain.grad_cam(detector(), planted, 0)
    shown = explain.overlay(planted, heat)
    assert (shown.shape, shown.dtype) == (planted.shape, np.uint8)
    spread = np.ptp(shown.astype(int), axis=2)
    assert spread[heat == 1].mean() > spread[heat == 0].mean() + 50  # grey stays grey, and the evidence is coloured
    for channels in (1, 2, 16, 40):
        tiles = explain.mosaic(np.random.default_rng(0).normal(size=(5, 5, channels)).astype(np.float32))
        assert tiles.dtype == np.uint8
        assert tiles.shape[2] == 3
        assert max(tiles.shape) <= 224


# The command


def test_the_command_draws_and_says_the_answer(trained, facectl, tmp_path):
    photograph = next((trained.folder / trained.data / "red").glob("*.png"))
    out = tmp_path / "new" / "seen.png"
    done = facectl("explain", trained.folder, photograph, "--out", out, "--label", "green", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    said = done.json()
    predicted = facectl("predict", trained.folder, photograph, "--json", "--device", "cpu").json()["results"][0]
    assert said["label"] == predicted["label"]
    assert said["probability"] == pytest.approx(predicted["probability"], abs=1e-4)
    assert said["device"] == "cpu"
    assert said["picture"] == str(out)
    picture = Image.open(io.BytesIO(out.read_bytes()))
    assert picture.format == "PNG"
    assert picture.width > 3 * picture.height / 2
    again = facectl("explain", trained.folder, photograph, "--out", out, "--device", "cpu")
    assert "already there" in again.error()
    assert again.code == 2


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--layer", "head_rely"], "did you mean 'head_relu'?", 2),
        (["--label", "gren"], "did you mean 'green'?", 2),
    ],
)
def test_what_the_run_does_not_have_is_refused(trained, facectl, tmp_path, words, message, code):
    photograph = next((trained.data / "red").glob("*.png"))
    done = facectl("explain", trained.folder, photograph, "--out", tmp_path / "a.png", "--device", "cpu", *words)
    assert message in done.error()
    assert done.code == code
    assert not list(tmp_path.iterdir())


def test_the_picture_is_not_given_the_name_of_another_format(trained, facectl, tmp_path):
    photograph = next((trained.data / "red").glob("*.png"))
    done = facectl("explain", trained.folder, photograph, "--out", tmp_path / "a.jpg", "--device", "cpu")
    assert "a.jpg: the picture is a PNG; give a name that ends in .png" in done.error()
    assert done.code == 2
    assert not list(tmp_path.iterdir())


def test_an_exported_file_and_no_picture_are_refused(trained, facectl, tmp_path):
    exported = tmp_path / "zoo.onnx"
    exported.touch()
    done = facectl("explain", exported, tmp_path / "a.png", "--out", tmp_path / "b.png", "--device", "cpu")
    assert "give the run folder that it was exported from" in done.error()
    assert done.code == 4
    done = facectl("explain", trained.folder, tmp_path / "a.png", "--out", tmp_path / "b.png", "--device", "cpu")
    assert "a.png: cannot be read" in done.error()
    assert done.code == 3
