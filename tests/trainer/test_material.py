"""A data folder as each stage takes it: computed once, kept, and shared between stages and runs."""

import numpy as np
import pytest

from facectl_runtime.image import load
from facectl_runtime.labelled import class_folders, content_hash
from facectl_runtime.spec import CenterCrop, InputSpec, Squash
from facectl_trainer import material
from facectl_trainer.augment import AugmentPlan, CopiesPlan
from facectl_trainer.data.cache import FeatureCache
from facectl_trainer.feed import Photographs, Vectors
from facectl_trainer.material import Material
from facectl_trainer.model import assemble
from facectl_trainer.recipe import FeaturesPlan
from tiny_network import SIDE, full_disk, recipe, stage

tf_keras = pytest.importorskip("tf_keras")

SPEC = InputSpec(SIDE, SIDE, Squash())
LABELS = ("green", "red")


@pytest.fixture
def model(tiny):
    tf_keras.utils.set_random_seed(0)
    return assemble(tiny, recipe(features=FeaturesPlan(grid=0)), 2, tiny.preprocess)


@pytest.fixture
def work(uneven, monkeypatch):
    """Give a function that makes a Material, and a list of how many images each call of a trunk was for."""
    images = class_folders(uneven)
    hashes = {image.path: content_hash(uneven / image.path) for image in images}
    parts = {"train": images[4:20], "val": images[:4], "test": images[20:]}
    seen = []
    extractor = material.Extractor

    def spied(trunk, *rest):
        return extractor(lambda pixels: (seen.append(len(pixels)), trunk(pixels))[1], *rest)

    monkeypatch.setattr(material, "Extractor", spied)

    def make(changes=None, augment=None, spec=SPEC, device="cpu"):
        return Material(uneven, spec, hashes, LABELS, changes, augment, device, lambda: None, True)

    return make, parts, seen, images


def all_rows(feed, part):
    vectors, examples = feed.rows[part]
    return vectors[examples]


def test_a_stage_on_vectors_is_fed_what_the_trunk_makes_of_its_images(model, work, uneven):
    make, parts, seen, _ = work
    feed = make().feed(model, stage("head"), parts)
    assert isinstance(feed, Vectors)
    assert [len(all_rows(feed, part)) for part in ("train", "val", "test")] == [16, 4, 4]
    assert sum(seen) == 24
    pixels = np.stack([load(uneven / image.path, SPEC) for image in parts["test"]])
    expected = tf_keras.Model(model.input, model.get_layer("features").output).predict_on_batch(pixels)
    np.testing.assert_allclose(feed.inputs("test", slice(0, 4))[0], expected, atol=1e-6)
    assert feed.truth["test"].tolist() == [LABELS.index(image.label) for image in parts["test"]]
    (batch,) = feed.examples(np.array([3, 1]), np.random.default_rng(0))
    np.testing.assert_array_equal(batch, all_rows(feed, "train")[[3, 1]])


def test_nothing_is_computed_twice_by_one_run_nor_by_the_next(model, work):
    make, parts, seen, images = work
    one = make()
    assert one.unreadable(model, stage("head"), images) == {}
    one.feed(model, stage("head"), parts)
    assert sum(seen) == 24
    make().feed(model, stage("head"), parts)
    assert sum(seen) == 24


@pytest.mark.parametrize("other", ["weights", "input", "device", "layer"])
def test_vectors_are_given_to_no_other_trunk_input_or_device(model, work, other):
    make, parts, seen, _ = work
    make().feed(model, stage("head"), parts)
    before = sum(seen)
    if other == "weights":
        kernel = model.get_layer("stem").kernel
        kernel.assign(kernel * 1.01)
    options = {"input": {"spec": InputSpec(SIDE, SIDE, CenterCrop(0.5))}, "device": {"device": "cuda:0"}}
    make(**options.get(other, {})).feed(model, stage("top" if other == "layer" else "head"), parts)
    assert sum(seen) == 2 * before


def test_training_uses_every_copy_and_val_and_test_none(model, work):
    make, parts, seen, images = work
    one = make(CopiesPlan(shift=3, flip=True))
    one.unreadable(model, stage("head"), images)
    feed = one.feed(model, stage("head"), parts)
    assert [len(all_rows(feed, part)) for part in ("train", "val", "test")] == [6 * 16, 4, 4]
    assert [len(feed.truth[part]) for part in ("train", "val", "test")] == [6 * 16, 4, 4]
    assert feed.truth["train"].tolist() == [LABELS.index(i.label) for i in parts["train"] for _ in range(6)]
    computed = sum(seen)
    make(CopiesPlan(shift=3, flip=True)).feed(model, stage("head"), parts)
    assert sum(seen) == computed


def test_copies_are_the_same_for_pixels_as_for_vectors(model, work):
    make, parts, _, _ = work
    given = make(CopiesPlan(shift=3, flip=True))
    vectors, pixels = given.feed(model, stage("head"), parts), given.feed(model, stage("all"), parts)
    assert isinstance(pixels, Photographs)
    (every,) = pixels.examples(np.arange(96), np.random.default_rng(0))
    trunk = tf_keras.Model(model.input, model.get_layer("features").output)
    made = trunk.predict_on_batch(every)
    # copy by copy there, image by image here
    order = np.arange(96).reshape(16, 6).T.ravel()
    np.testing.assert_allclose(made, all_rows(vectors, "train")[order], atol=1e-5)
    np.testing.assert_array_equal(pixels.truth["train"], vectors.truth["train"][order])


def test_a_stage_with_augmentation_is_fed_pixels_even_for_a_head(model, work):
    make, parts, seen, _ = work
    feed = make(augment=AugmentPlan(flip=True)).feed(model, stage("head", augment=True), parts)
    assert isinstance(feed, Photographs)
    assert feed.judged is model
    assert feed.trained is not model
    assert seen == []
    assert len(feed.examples(np.arange(3), np.random.default_rng(0))) == 2


def test_without_augment_in_the_stage_the_plan_is_not_used(model, work):
    make, parts, _, _ = work
    feed = make(augment=AugmentPlan(flip=True)).feed(model, stage("all"), parts)
    assert feed.trained is model
    assert len(feed.examples(np.arange(3), np.random.default_rng(0))) == 1


def test_a_full_disk_costs_the_cache_and_not_the_vectors(model, work, capsys, monkeypatch):
    make, parts, _, _ = work
    put = FeatureCache.put

    def full(self, vectors):
        with full_disk():
            put(self, vectors)

    monkeypatch.setattr(FeatureCache, "put", full)
    feed = make().feed(model, stage("head"), parts)
    assert len(all_rows(feed, "train")) == 16
    assert np.isfinite(all_rows(feed, "train")).all()
    assert "going on without it" in capsys.readouterr().err


def test_features_that_the_cache_cannot_hold_all_of_are_kept_in_part_and_it_is_said(model, work, monkeypatch, capsys):
    make, parts, _, _ = work
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "600K")
    make().feed(model, stage("left"), parts)  # 24 vectors of 4 kB each, of which four go into a page
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "300K")
    make().feed(model, stage("sum"), parts)
    said = capsys.readouterr().err
    assert "features of 24 photographs" in said
    assert "set FACECTL_CACHE_BYTES" in said
    assert 0 < int(said.split("those of ")[1].split()[0]) < 24


def test_what_a_run_keeps_of_several_trunks_fits_together(model, work, monkeypatch, capsys):
    make, parts, seen, _ = work
    monkeypatch.setenv("FACECTL_CACHE_BYTES", "600K")
    both = make()
    both.feed(model, stage("left"), parts)
    assert capsys.readouterr().err == ""
    both.feed(model, stage("sum"), parts)
    assert "features of 24 photographs" in capsys.readouterr().err
    seen.clear()
    make().feed(model, stage("left"), parts)
    assert sum(seen) == 0
