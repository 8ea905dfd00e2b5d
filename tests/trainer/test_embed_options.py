"""What is asked of a training of an embedding, what cannot be, and what ends it before its time."""

import shutil

import numpy as np
import pytest

from drawn_people import HEAD, RECIPE, draw_people
from drawn_run import history_of
from facectl_trainer.data.split import Fold
from facectl_trainer.data.split_classes import split_classes
from facectl_trainer.recipe import EmbedPlan, LayerPlan, load_recipe, variants
from facectl_trainer.run import read_run
from facectl_trainer.unfinished import Unfinished
from tiny_network import SIDE, recipe

pytest.importorskip("tf_keras")


# What is asked for


def test_the_margin_and_the_epochs_asked_for_are_used(mine, train, few, tmp_path):
    said = train(few, "--margin", 0.7, "--epochs", 1, "--sampling", "semi-hard", recipe=mine()).json()
    assert said["epochs"] == 1
    kept = read_run(tmp_path / "runs" / "new").recipe
    assert (kept.embed.margin, kept.embed.sampling, kept.embed.triplets) == (0.7, "semi-hard", 600)
    assert float(history_of(tmp_path / "runs" / "new")[0]["val_loss"]) > 0.35


def test_a_fold_tests_on_its_share_of_the_people(mine, train, few, tmp_path):
    said = train(few, "--fold", "2/3", recipe=mine()).json()
    assert (said["fold"], said["people"]) == ("2/3", 4)
    split = read_run(tmp_path / "runs" / "new").split
    images = [image for chosen in split.parts.values() for image in chosen]
    assert split.parts == split_classes(images, split.hashes, test=0.25, val=0.2, seed=0, fold=Fold(2, 3))


@pytest.mark.parametrize("option", [("--sampling", "random"), ("--margin", 0.5), ("--pretrained",)])
def test_options_of_embeddings_are_refused_for_a_classifier(refused, small, option):
    assert f"{option[0]} is of a recipe for embeddings, such as triplet; leave it out" in refused(small, *option)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--sampling", "wieghted"), "did you mean 'weighted'?; use random, semi-hard, weighted"),
        (("--balance", "sampling"), "--balance is of a classifier; triplets are drawn by --sampling"),
    ],
)
def test_options_that_cannot_be_are_one_line(refused, mine, few, more, said):
    assert said in refused(few, *more, recipe=mine())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"head = {{ hidden = [8] }}\n{RECIPE}", "[embed] has layers of its own, and no classes to balance"),
        (f'balance = "sampling"\n{RECIPE}', "[embed] has layers of its own, and no classes to balance"),
        (f"{HEAD}stages = []", "there is no stage; a classifier needs one or more [[stages]]"),
        (RECIPE.replace("triplets", "tripelts"), "did you mean 'triplets'?"),
        (RECIPE.replace('"linear"', '"tahn"'), "did you mean 'tanh'?"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_line(refused, mine, few, text, said):
    assert said in refused(few, recipe=mine(text))


def test_the_recipe_triplet_and_its_variants_are_shown(facectl):
    shown = facectl("train", "--list").out
    assert "triplet  Faces of people that nobody trained on" in shown
    assert variants("triplet") == ["facenet", "facenet-plain"]
    for name in variants("triplet"):
        assert f"--variant {name}: {load_recipe('triplet', name)[1].about}" in shown
        assert not load_recipe("triplet", name)[1].stages


# Photographs


def test_a_name_of_any_kind_is_a_person(mine, train, tmp_path):
    names = ["Ann  Lee", "Zoë Ünal", "王芳", "x" * 220, "O'Neil, J.", *(f"P{number}" for number in range(5))]
    assert train(draw_people(tmp_path / "named", names, each=2), recipe=mine()).code == 0
    split = read_run(tmp_path / "runs" / "new").split
    assert {image.label for images in split.parts.values() for image in images} == set(names)


def test_a_person_of_whom_nothing_can_be_read_is_left_out(mine, train, few, tmp_path):
    data = shutil.copytree(few, tmp_path / "data")
    (data / "Damaged").mkdir()
    whole = (few / "Person 0" / "0.png").read_bytes()
    (data / "Damaged" / "0.png").write_bytes(whole[: len(whole) // 2])
    done = train(data, recipe=mine())
    assert done.code == 0, done.err
    assert list(done.json()["left_out"]) == ["Damaged/0.png"]


def test_a_split_of_each_class_s_photographs_is_refused(facectl, refused, mine, few, tmp_path):
    assert facectl("data", "split", few, "--to", tmp_path / "split.json", "--quiet").code == 0
    said = refused(few, "--split", tmp_path / "split.json", recipe=mine())
    assert "Person 0 is in train and in val; an embedding is measured on people that it has not seen" in said


def test_people_of_one_photograph_each_are_one_line(refused, mine, tmp_path):
    data = draw_people(tmp_path / "data", [f"P{number}" for number in range(9)], each=1)
    assert "0 of 9 people have two different photographs or more, and 6 are needed" in refused(data, recipe=mine())


# Interruption and collapse


STAGES = """
[[stages]]
train = "head"
optimizer = "adam"
rate = 1e-2
epochs = 2
patience = 2
[[stages]]
train = "top"
optimizer = "adam"
rate = 1e-3
epochs = 1
patience = 1
augment = true
"""


@pytest.mark.usefixtures("tiny")
def test_interrupted_after_every_epoch_it_ends_as_the_uninterrupted_one(mine, facectl, few, tmp_path, monkeypatch):
    """Though what is drawn depends on the embeddings at each epoch's beginning."""
    stops, save = [], Unfinished.save

    def saving(self, *arguments, **options):
        self._every = 0
        save(self, *arguments, **options)
        if stops and stops.pop():
            raise KeyboardInterrupt

    monkeypatch.setattr(Unfinished, "save", saving)
    head = f"{HEAD}augment = {{ rotation = 10 }}\nembed = {{ layers = [{{ width = 8, activation = 'tanh' }}] }}"
    words = ["train", mine(head + STAGES), "--data", few, "--sampling", "weighted", "--device", "cpu", "--no-report"]
    whole, broken = tmp_path / "whole" / "mine", tmp_path / "broken" / "mine"
    words += ["--quiet"]
    assert facectl(*words, "--out", whole).code == 0
    for number in range(5):  # three epochs and the end of each stage
        stops.append(True)
        assert facectl(*words, "--out", broken, *(["--resume"] if number else [])).code == 130
    assert facectl(*words, "--out", broken, "--resume").code == 0
    assert history_of(broken) == history_of(whole)
    assert len(history_of(whole)) == 3
    np.testing.assert_allclose(np.load(broken / "embeddings.npy"), np.load(whole / "embeddings.npy"), atol=1e-6)


def test_a_collapse_is_one_line_and_leaves_nothing_that_is_in_the_way(mine, train, few, monkeypatch):
    save = Unfinished.save

    def saving(self, *arguments, **options):
        self._every = 0
        save(self, *arguments, **options)

    monkeypatch.setattr(Unfinished, "save", saving)
    hot = mine(RECIPE, ("linear", "sigmoid"), ("rate = 1e-2", "rate = 100.0"))
    done = train(few, "--epochs", 9, recipe=hot)
    assert done.code == 1
    assert "the embeddings have collapsed: for 3 epochs" in done.error()
    assert "lower the rate in the recipe (1e+02)" in done.error()
    assert train(few, recipe=mine()).code == 0


# The network


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_features_that_are_all_nothing_or_large_have_an_embedding(tiny, policy):
    """Of which half precision holds neither the squares nor one over them."""
    from tf_keras import mixed_precision

    from facectl_trainer.model import assemble

    layers = tuple(LayerPlan(width, "relu", norm=True) for width in (512, 8))
    before = mixed_precision.global_policy()
    mixed_precision.set_global_policy(policy)
    try:
        model = assemble(tiny, recipe(embed=EmbedPlan(layers)), 0, tiny.preprocess)
    finally:
        mixed_precision.set_global_policy(before)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    first = model.get_layer("embedding_dense1")
    kernel, bias = first.get_weights()
    assert np.isfinite(model.predict_on_batch(pixels)).all()
    first.set_weights([kernel * 0, bias + 100])
    answers = model.predict_on_batch(pixels)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answers, axis=1), 1, atol=1e-5)
    first.set_weights([kernel * 0, bias - 1])
    assert np.isfinite(model.predict_on_batch(pixels)).all()
