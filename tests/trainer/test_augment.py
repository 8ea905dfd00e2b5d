"""Augmentation: one exact resample, repeatable by epoch, that leaves what it is not told to change."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from facectl_runtime.errors import UsageError
from facectl_trainer import augment
from facectl_trainer.augment import AugmentPlan, CopiesPlan

pytest.importorskip("tf_keras")

DATA = Path(os.environ.get("FACECTL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PLAN = AugmentPlan(rotation=40, shift=0.2, shear=0.2, zoom=0.2, flip=True)
SIDE = 48


@pytest.fixture(scope="module")
def photograph():
    found = sorted((DATA / "zoo" / "panda").glob("*.jpg"))
    if not found:
        pytest.skip(f"no photographs under {DATA}/zoo; name their folder in FACECTL_TEST_DATA")
    return np.asarray(Image.open(found[0]).convert("RGB").resize((SIDE, SIDE)))


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)


def drawn(plan, n=500, side=SIDE, seed=0, epoch=1):
    return augment.transforms(plan, np.random.default_rng([seed, epoch]), n, side)


def source(each, x, y):
    """Where output pixel (x, y) comes from, by each transform: N × 2."""
    return np.stack([each[:, :3] @ [x, y, 1], each[:, 3:6] @ [x, y, 1]], axis=1)


@pytest.mark.parametrize(
    ("fill", "mode"), [("nearest", "nearest"), ("constant", "grid-constant"), ("reflect", "reflect")]
)
def test_a_photograph_is_moved_as_scipy_moves_it(photograph, fill, mode):
    ndimage = pytest.importorskip("scipy.ndimage")
    each = drawn(PLAN, 12)
    for image, (a, b, c, d, e, f, *_) in zip(
        augment.apply(np.stack([photograph] * 12), each, fill), each.astype(float), strict=True
    ):
        for channel in range(3):
            plane = photograph[..., channel].astype(float)
            wanted = ndimage.affine_transform(plane, [[e, d], [b, a]], [f, c], order=1, mode=mode)
            assert np.abs(image[..., channel] - wanted).max() < 0.51


@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect"])
def test_no_change_gives_the_image_to_the_bit(noise, fill):
    for each in (augment.identity(6), drawn(AugmentPlan(), 6)):
        assert np.array_equal(augment.apply(noise, each, fill), noise)


def test_a_flip_mirrors_to_the_bit_half_the_time(noise):
    each = drawn(AugmentPlan(flip=True))
    flipped = each[:, 0] < 0
    assert 200 < flipped.sum() < 300
    moved = augment.apply(noise, each[:6])
    for image, was, mirrored in zip(moved, noise, flipped, strict=False):
        assert np.array_equal(image, was[:, ::-1] if mirrored else was)


def test_every_change_keeps_to_its_range():
    middle = (SIDE - 1) / 2
    turned = drawn(AugmentPlan(rotation=40))
    angles = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]))
    assert -40 <= angles.min() < -38
    assert 38 < angles.max() <= 40
    assert np.allclose(source(turned, middle, middle), middle, atol=1e-4)
    moved = source(drawn(AugmentPlan(shift=0.25)), 0, 0)
    assert np.abs(moved).max(axis=0).min() > 11.5
    assert np.abs(moved).max() <= 12
    sides = 1 / drawn(AugmentPlan(zoom=0.5))[:, 0]
    assert 0.5 <= sides.min() < 0.52
    assert 1.48 < sides.max() <= 1.5001
    leaning = drawn(AugmentPlan(shear=0.2))
    assert 0.19 < np.abs(leaning[:, 1]).max() <= 0.2001
    assert np.array_equal(leaning[:, [0, 3, 4]], np.tile(np.float32([1, 0, 1]), (500, 1)))


def linear(**changes):
    """Give the linear part of transforms that are drawn alike whatever is asked for: N × 2 × 2."""
    return drawn(AugmentPlan(**changes), 50).astype(float)[:, [0, 1, 3, 4]].reshape(-1, 2, 2)


def test_a_picture_is_mirrored_scaled_sheared_and_turned_in_this_order():
    turned, sheared = linear(rotation=180), linear(shear=1)
    scaled, mirrored = linear(zoom=0.9), linear(flip=True)
    assert np.allclose(turned @ turned.transpose(0, 2, 1), np.eye(2), atol=1e-6)
    assert np.allclose(np.linalg.det(turned), 1)
    whole = linear(rotation=180, shear=1, zoom=0.9, flip=True)
    assert np.allclose(whole, mirrored @ scaled @ sheared @ turned, atol=1e-4)


def test_a_change_of_size_is_undone_before_the_shift():
    """A shift is a share of the output's side, however small the picture in it has become."""
    away = source(drawn(AugmentPlan(shift=0.5, zoom=0.9)), (SIDE - 1) / 2, (SIDE - 1) / 2) - (SIDE - 1) / 2
    scale = drawn(AugmentPlan(zoom=0.9))[:, 0]
    assert np.abs(away / scale[:, None]).max() <= SIDE / 2 + 1e-3


def test_the_same_random_numbers_give_the_same_transforms():
    assert np.array_equal(drawn(PLAN), drawn(PLAN))
    assert not np.array_equal(drawn(PLAN), drawn(PLAN, epoch=2))
    assert drawn(PLAN).dtype == np.float32


def test_the_nearest_pixel_fills_everywhere(photograph):
    each = drawn(AugmentPlan(rotation=180, shift=0.5, shear=1, zoom=0.9, flip=True), 40)
    moved = augment.apply(np.stack([np.maximum(photograph, 60)] * 40), each, "nearest")
    assert moved.min() >= 60


def test_the_layer_keeps_its_pixels_under_half_precision(noise):
    import tf_keras

    each = drawn(PLAN, 6, side=SIDE)
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        images = tf_keras.Input((SIDE, SIDE, 3), dtype="uint8")
        places = tf_keras.Input((8,))
        model = tf_keras.Model([images, places], augment.affine("reflect")([images, places]))
        moved = model([noise, each])
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    assert model.output_shape == (None, SIDE, SIDE, 3)
    assert moved.dtype == "uint8"
    assert np.array_equal(moved, augment.apply(noise, each, "reflect"))


def test_a_model_with_the_layer_is_saved_and_read(noise, tmp_path):
    import tf_keras

    inputs = [tf_keras.Input((SIDE, SIDE, 3), dtype="uint8"), tf_keras.Input((8,))]
    model = tf_keras.Model(inputs, augment.affine("reflect")(inputs))
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    each = drawn(PLAN, 6)
    assert np.array_equal(again([noise, each]), model([noise, each]))


def test_copies_are_named_and_moved_where_they_say(noise):
    found = dict(augment.copies(CopiesPlan(shift=10, flip=True), SIDE))
    assert list(found) == ["", "flip", "left10", "right10", "up10", "down10"]
    made = {name: augment.apply(noise, transform) for name, transform in found.items()}
    assert np.array_equal(made[""], noise)
    assert np.array_equal(made["flip"], noise[:, :, ::-1])
    assert np.array_equal(made["left10"][:, :, :-10], noise[:, :, 10:])
    assert np.array_equal(made["right10"][:, :, 10:], noise[:, :, :-10])
    assert np.array_equal(made["up10"][:, :-10], noise[:, 10:])
    assert np.array_equal(made["down10"][:, 10:], noise[:, :-10])
    assert (made["down10"][:, :10] == noise[:, :1]).all()


def test_a_training_with_the_layer_is_repeatable(noise):
    import tf_keras

    from facectl_trainer.framework import seed_everything

    def trained():
        seed_everything(0)
        inputs = [tf_keras.Input((SIDE, SIDE, 3), dtype="uint8"), tf_keras.Input((8,))]
        floats = tf_keras.layers.Rescaling(1 / 255)(augment.affine("nearest")(inputs))
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(1)(tf_keras.layers.Flatten()(floats)))
        model.compile("sgd", "mse")
        for epoch in (1, 2):
            model.train_on_batch([noise, drawn(PLAN, 6, epoch=epoch)], np.arange(6.0))
        return model.get_weights()[0]

    assert np.array_equal(trained(), trained())


def test_no_copies_but_the_picture_itself():
    assert [name for name, _ in augment.copies(CopiesPlan(), SIDE)] == [""]


def test_copies_shifted_out_of_the_picture_are_refused():
    with pytest.raises(UsageError, match="shifted by 24 pixels: the input is 48 wide"):
        augment.copies(CopiesPlan(shift=24), SIDE)


@pytest.mark.parametrize(
    "text",
    [
        "rotation = 181",
        "rotation = nan",
        "shift = 0.6",
        "shear = 20",
        "zoom = 1.0",
        "zoom = -0.1",
        "fill = 'wrap'",
        "rotate = 3",
    ],
)
def test_a_plan_out_of_range_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(text, type=AugmentPlan)


def test_a_plan_is_read_from_toml():
    text = "rotation = 40\nshift = 0.2\nshear = 0.2\nzoom = 0.2\nflip = true"
    assert msgspec.toml.decode(text, type=AugmentPlan) == PLAN
