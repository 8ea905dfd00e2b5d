"""Training an embedding through the command line: people that it has not seen are told apart better than before."""

import json
import shutil

import numpy as np
import pytest

from drawn_people import HEAD, LAYERS, RECIPE, STAGE, draw_people
from drawn_run import draw_run, history_of
from facectl_runtime import spec as contract
from facectl_runtime.image import load
from facectl_trainer.backbones import BACKBONES
from facectl_trainer.embed import embedding_id
from facectl_trainer.run import read_embeddings, read_run
from helpers import call
from tiny_network import SIDE, build

pytest.importorskip("tf_keras")

POLICIES = ("random", "semi-hard", "weighted")
FILES = ["embeddings.npy", "history.csv", "metrics.json", "model.keras", "recipe.json", "spec.json", "split.json",
         "tensorboard"]  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp("people"), [f"Person {number}" for number in range(30)])


@pytest.fixture(scope="module")
def runs(people, tiny_weights, tmp_path_factory):
    """Train with each sampling, and nothing; gives {how: (folder, what `train --json` said)}."""
    place, found = tmp_path_factory.mktemp("runs"), {}
    (place / "mine.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", tiny_weights[1])
        patch.setenv("FACECTL_WEIGHTS_DIR", str(tiny_weights[0]))
        patch.setenv("FACECTL_HOME", str(place / "home"))
        for how in (*POLICIES, "pretrained"):
            option = ("--pretrained",) if how == "pretrained" else ("--sampling", how)
            words = ("--data", people, "--out", place / how, "--device", "cpu", "--no-report", "--json", "--quiet")
            done = call("train", place / "mine.toml", *words, *option)
            assert (done.code, done.err) == (0, "")
            found[how] = place / how, done.json()
    return found


def spec_of(folder):
    return contract.decode((folder / "spec.json").read_bytes(), "spec.json")


# What is learnt


@pytest.mark.parametrize("how", POLICIES)
def test_people_it_has_not_seen_are_told_apart_better_than_by_the_backbone_alone(runs, how):
    folder, said = runs[how]
    losses = [float(row["val_loss"]) for row in history_of(folder)]
    assert min(losses) < losses[0] - 0.01
    assert said["kept"] == {"head": losses.index(min(losses)) + 1}
    assert 0.5 < runs["pretrained"][1]["test"]["auc"] < 0.7
    assert said["test"]["auc"] > runs["pretrained"][1]["test"]["auc"] + 0.08


def test_each_sampling_draws_its_own_triplets(runs):
    losses = {how: float(history_of(runs[how][0])[0]["loss"]) for how in POLICIES}
    assert losses["weighted"] > losses["random"] > losses["semi-hard"]


def test_nobody_who_is_tested_on_was_trained_on(runs):
    split = read_run(runs["random"][0]).split
    where = {part: {image.label for image in images} for part, images in split.parts.items()}
    assert [len(where[part]) for part in ("train", "val", "test")] == [16, 6, 8]
    assert len(set.union(*where.values())) == 30


# The run folder


def test_the_run_folder_holds_what_it_should(runs):
    for folder, _ in runs.values():
        assert sorted(path.name for path in folder.iterdir()) == FILES
    assert {"val_spread", "val_loss", "val_accuracy"} < set(history_of(runs["random"][0])[0])


def test_the_spec_says_that_it_is_an_embedding(runs):
    spec = spec_of(runs["random"][0])
    assert (spec.task, spec.labels, spec.metrics) == ("embed", (), None)
    assert spec.output == contract.OutputSpec("embedding", 16)
    assert spec.embedding_id.startswith("tiny/embedding/")


@pytest.mark.usefixtures("tiny")
def test_what_is_said_is_measured_on_the_model_s_own_answers_to_pixels(runs, people):
    folder, said = runs["semi-hard"]
    run = read_run(folder)
    images = run.split.parts["test"]
    answers = run.model().predict_on_batch(np.stack([load(people / image.path, run.spec.input) for image in images]))
    np.testing.assert_allclose(np.linalg.norm(answers, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(read_embeddings(run), answers, atol=1e-5)
    names = np.array([image.label for image in images])
    first, second = np.triu_indices(len(images), 1)
    scores, same = np.sum(answers[first] * answers[second], axis=1), names[first] == names[second]
    beats = (scores[same][:, None] > scores[~same][None]).mean()
    assert said["test"]["auc"] == pytest.approx(beats, abs=1e-3)
    assert (said["test"]["same"], said["test"]["different"], said["people"]) == (80, 700, 8)
    assert json.loads((folder / "metrics.json").read_text())["test"] == said["test"]
    assert {"eer", "tar_at_far_1e2", "tar_at_far_1e3", "accuracy"} < set(said["test"])


def test_pretrained_is_the_backbone_s_own_features(mine, train, few, tiny_weights, tmp_path):
    said = train(few, "--pretrained", recipe=mine(f"{HEAD}embed = {{ {LAYERS} }}\n{STAGE}")).json()
    assert (said["epochs"], said["kept"]) == (0, {})
    run = read_run(tmp_path / "runs" / "new")
    assert history_of(run.folder) == []
    pixels = np.stack([load(few / image.path, run.spec.input) for image in run.split.parts["test"]])
    maps = build(SIDE, "unit", tiny_weights[0] / "tiny.npz").predict_on_batch(pixels)
    means = maps.mean(axis=(1, 2))
    wanted = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(read_embeddings(run), wanted, atol=1e-5)


def test_the_backbone_itself_is_trained_where_a_stage_says_so(mine, train, few, tiny_weights, tmp_path):
    said = train(few, recipe=mine(RECIPE, ('train = "head"', 'train = "all"'))).json()
    assert said["epochs"] == 2
    before = build(SIDE, "unit", tiny_weights[0] / "tiny.npz").get_weights()
    after = read_run(tmp_path / "runs" / "new").model().get_weights()[: len(before)]
    assert any(not np.allclose(one, other) for one, other in zip(before, after, strict=True))


# The space that embeddings lie in


@pytest.mark.usefixtures("tiny")
def test_a_run_copied_elsewhere_is_of_the_same_space_and_each_training_of_its_own(runs, tmp_path):
    copy = read_run(shutil.copytree(runs["random"][0], tmp_path / "elsewhere"))
    assert embedding_id(copy.model(), "tiny", copy.spec.input) == spec_of(runs["random"][0]).embedding_id
    assert len({spec_of(folder).embedding_id for folder, _ in runs.values()}) == 4


def test_the_seed_and_the_way_to_resize_decide_the_space(mine, train, few, tmp_path):
    def space(name, *more, text=RECIPE):
        done = train(few, *more, recipe=mine(text), out=tmp_path / "runs" / name)
        assert done.code == 0
        return spec_of(tmp_path / "runs" / name).embedding_id

    one = space("one", "--epochs", 1)
    assert one == space("again", "--epochs", 1)
    assert one != space("another", "--epochs", 1, "--seed", 1)
    boxed = RECIPE.replace('"squash"', '"letterbox"')
    assert space("plain", "--pretrained") != space("boxed", "--pretrained", text=boxed)


def test_a_training_goes_on_from_an_earlier_run(mine, train, few, runs, people, tmp_path):
    said = train(people, "--from", runs["random"][0], "--sampling", "weighted", recipe=mine()).json()
    assert said["begun_from"].startswith(f"{runs['random'][0]}, ")
    assert said["test"]["auc"] > runs["pretrained"][1]["test"]["auc"] + 0.08
    assert train(few, "--from", runs["random"][0], recipe=mine(), out=tmp_path / "runs" / "others").code == 0


def test_people_who_were_trained_on_are_not_tested_on_by_other_photographs_of_them(refused, mine, runs, tmp_path):
    trained = {image.label for image in read_run(runs["random"][0]).split.parts["train"]}
    others = draw_people(tmp_path / "others", sorted(trained)[:12], each=4, seed=77)
    said = refused(others, "--from", runs["random"][0], recipe=mine())
    assert "of the people to choose by or to test on, such as Person" in said


@pytest.mark.usefixtures("tiny")
def test_explain_is_of_classifiers(runs, people, facectl, tmp_path):
    photograph = next(people.rglob("*.png"))
    ran = facectl("explain", runs["random"][0], photograph, "--out", tmp_path / "out.png")
    assert ran.code == 4
    assert "its task is embed" in ran.error()


@pytest.mark.usefixtures("tiny")
def test_a_threshold_is_chosen_on_people_that_the_run_was_not_trained_on(runs, people, facectl):
    run = runs["random"][0]
    words = ("--data", people, "--no-detect", "--far", 0.3, "--folds", 3, "--dry-run", "--json")
    ran = facectl("faces", "calibrate", run, *words)
    assert ran.code == 0, ran.err
    assert "the val part of" in ran.err
    assert ran.json()["results"][0]["groups"] == len({i.label for i in read_run(run).split.parts["val"]})
    ran = facectl("faces", "calibrate", runs["pretrained"][0], *words)
    assert ran.json()["results"][0]["groups"] == 30  # it has learnt from nobody


@pytest.mark.usefixtures("tiny")
def test_evaluate_says_of_triplets_that_they_are_of_photographs_it_was_trained_on(runs, people, facectl, tmp_path):
    run = runs["random"][0]
    for part, known in (("train", True), ("test", False)):
        file = tmp_path / f"{part}.csv"
        drawn = facectl("data", "triplets", "--split", run / "split.json", "--part", part, "--to", file, "--count", 30)
        assert (drawn.code, f"the {part} part of" in drawn.out) == (0, True)
        ran = facectl("evaluate", run, "--data", people, "--triplets", file, "--quiet")
        assert ran.code == 0
        assert ("are of its own train and val parts, and flatter it" in ran.err) == known
        untrained = facectl("evaluate", runs["pretrained"][0], "--data", people, "--triplets", file, "--quiet")
        assert (untrained.code, untrained.err) == (0, "")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("part", ["train", "test"])
def test_no_threshold_is_chosen_on_whom_it_was_trained_on(runs, people, facectl, tmp_path, part):
    run = runs["random"][0]
    words = ("--no-detect", "--far", 0.3, "--folds", 3, "--dry-run", "--quiet")
    for image in read_run(run).split.parts[part]:
        (tmp_path / "only" / image.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(people / image.path, tmp_path / "only" / image.path)
    ran = facectl("faces", "calibrate", run, "--data", tmp_path / "only", *words)
    assert (ran.code, "was trained or tested on photographs in it" in ran.error()) == (2, True)
    shutil.move(tmp_path / "only", tmp_path / "moved" / "deeper")  # so that only their contents tell
    for person in (tmp_path / "moved" / "deeper").iterdir():
        person.rename(person.with_name(f"Other {person.name}"))
    ran = facectl("faces", "calibrate", run, "--data", tmp_path / "moved" / "deeper", *words)
    assert (ran.code, "are of its own train part, and flatter it" in ran.err) == (
        (2, True) if part == "train" else (0, False)
    )
    ran = facectl("faces", "calibrate", run, "--split", run / "split.json", "--part", part, *words)
    assert (ran.code, "are of its own train part, and flatter it" in ran.err) == (0, part == "train")


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (("width = 16", "width = 12"), (), "it has another embed than asked for"),
        (("grid = 2", "grid = 1"), (), "it has another features than asked for"),
        (("width = 16", "width = 16"), ("--seed", 1), "it was trained on"),
    ],
)
def test_a_run_that_cannot_be_gone_on_from_is_one_line(refused, mine, runs, people, change, more, said):
    assert said in refused(people, "--from", runs["random"][0], *more, recipe=mine(RECIPE, change))


def test_runs_of_embeddings_are_not_compared_as_classifiers(facectl, runs, tmp_path):
    classifier = draw_run(tmp_path / "classifier", tmp_path / "data", ["cat", "dog"])
    for others in ((runs["random"][0], runs["weighted"][0]), (classifier, runs["random"][0])):
        done = facectl("train", "compare", *others, "--out", tmp_path / "page.html")
        assert done.code == 2
        assert f"{runs['random'][0]}: an embedding, which tells no classes apart; compare classifiers" in done.error()
        assert not (tmp_path / "page.html").exists()
