"""`facectl train`: its options, what it says, and what it refuses."""

import json

import pytest
from PIL import Image

from facectl_trainer.recipe import names, variants
from facectl_trainer.run import read_run
from tiny_network import TINY

pytest.importorskip("tf_keras")


@pytest.fixture
def mine(tiny, tmp_path):  # noqa: ARG001  # it adds the backbone
    (tmp_path / "mine.toml").write_text(TINY)
    return tmp_path / "mine.toml"


def test_list_shows_every_recipe_and_variant(facectl):
    done = facectl("train", "--list")
    assert done.code == 0
    for name in names():
        assert f"\n{name} " in f"\n{done.out}"
        assert all(f"--variant {variant}:" in done.out for variant in variants(name))


@pytest.mark.parametrize(("words", "said"), [(["zoo"], "give --data"), ([], "give a RECIPE")])
def test_what_is_missing_is_named(facectl, words, said):
    done = facectl("train", *words)
    assert done.code == 2
    assert said in done.error()


def test_two_recipes_are_refused(facectl, uneven):
    done = facectl("train", "zoo", "lfw10", "--data", uneven)
    assert done.code == 2
    assert "one RECIPE at a time" in done.error()


def test_json_says_what_was_trained(mine, train, uneven, tmp_path):
    done = train(uneven, recipe=mine)
    assert done.err == ""
    said = done.json()
    assert set(said) == {
        "run",
        "device",
        "device_requested",
        "images",
        "epochs",
        "kept",
        "left_out",
        "test",
        "begun_from",
        "calibration",
        "fold",
    }
    assert (said["device"], said["epochs"], said["left_out"]) == ("cpu", 2, {})
    assert 1 <= said["kept"]["head"] <= 2
    assert sum(said["images"].values()) == 24
    assert said["test"]["n"] == said["images"]["test"]
    assert json.loads((tmp_path / "runs" / "new" / "metrics.json").read_text())["test"] == said["test"]


def test_verbose_gives_a_line_an_epoch(mine, facectl, uneven, tmp_path):
    done = facectl("train", mine, "--data", uneven, "--out", tmp_path / "new", "--no-report", "--device", "cpu", "-v")
    assert done.code == 0
    assert [line.split(":")[0] for line in done.err.splitlines() if line.startswith("head")] == [
        "head, epoch 1",
        "head, epoch 2",
    ]
    assert "device: cpu (asked for: cpu)" in done.err


def test_the_report_opens_alone_with_its_pictures_beside_it(mine, facectl, uneven, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new"
    done = facectl("train", mine, "--data", uneven, "--out", out, "--device", "cpu", "--quiet")
    assert done.code == 0, done.err
    assert "<html" in (out / "report.html").read_text()
    assert (out / "report" / "confusion.png").is_file()
    assert str(out / "report.html") in done.out


def test_labels_come_from_a_table(mine, train, draw, tmp_path):
    rows = []
    for number in range(24):
        colour = ("red", "green")[number % 2]
        draw(tmp_path / "flat" / f"{number}.png", colour, number)
        rows.append(f"{number}.png,{'warm' if colour == 'red' else 'cold'}")
    (tmp_path / "flat" / "train.csv").write_text("\n".join(["ID,Class", *rows, "gone.png,warm"]))
    done = train(tmp_path / "flat", "--labels", "train.csv", recipe=mine)
    assert done.code == 0, done.err
    assert list(done.json()["left_out"]) == ["gone.png"]
    assert read_run(tmp_path / "runs" / "new").spec.labels == ("cold", "warm")


def test_top_takes_the_largest_classes(mine, train, draw_classes, tmp_path):
    data = draw_classes(tmp_path / "data", {"red": 8, "green": 4, "blue": 6})
    assert train(data, "--top", 2, recipe=mine).code == 0
    assert read_run(tmp_path / "runs" / "new").spec.labels == ("blue", "red")


def test_preview_draws_and_trains_nothing(mine, facectl, uneven, tmp_path):
    png = tmp_path / "preview.png"
    words = ["train", mine, "--data", uneven, "--preview", png, "--out", tmp_path / "runs" / "new"]
    assert "no stage that has augment = true" in facectl(*words, "--quiet").error()
    mine.write_text(TINY.replace("patience = 2", "patience = 2\naugment = true", 1))
    done = facectl(*words)
    assert done.code == 0
    assert Image.open(png).width > 7 * 32
    assert str(png) in done.out
    assert not (tmp_path / "runs").exists()
    assert "give another --preview" in facectl(*words, "--quiet").error()
    assert facectl(*words, "--force", "--json").json() == {"preview": str(png)}


def test_a_variant_is_trained_under_its_own_name(mine, train, uneven, tmp_path):
    assert train(uneven, "--variant", "scratch", recipe=mine).code == 0
    run = read_run(tmp_path / "runs" / "new")
    assert run.spec.provenance.recipe == "mine/scratch"
    assert run.spec.provenance.weights_sha256 is None
    assert run.recipe.weights == "none"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--variant", "scrach"], "did you mean 'scratch'"),
        (["--weights", "drwan"], "did you mean 'drawn'"),
        (["--weights", "none"], "nothing to freeze"),
        (["--backbone", "convnet"], "convnet has no pretrained weights"),
        (["--from", "nowhere"], "nowhere"),
        (["--labels", "none.csv"], "none.csv"),
        (["--top", "1"], "--top"),
        (["--top", "9"], "only 2 classes"),
        (["--resume"], "no interrupted training"),
    ],
)
def test_an_option_that_makes_no_sense(mine, train, uneven, tmp_path, more, words):
    done = train(uneven, *more, recipe=mine)
    assert done.code == (4 if "--from" in more else 2)
    assert words in done.error()
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('train = "head"', 'train = "tob"', "did you mean 'top'"),
        ("[[stages]]", 'features = { layer = "poool" }\n[[stages]]', "did you mean 'pool'"),
        ("[[stages]]", "features = { grid = 3 }\n[[stages]]", "features.grid 3: the map of tiny is 2 × 2 there"),
        ('backbone = "tiny"', 'backbone = "inception_v3"\nweights = "none"\nside = 64', "nothing to freeze"),
        ('backbone = "tiny"', 'backbone = "tiny"\nside = 8', "side"),
        ('backbone = "tiny"', 'backbone = "tinny"', "did you mean 'tiny'"),
    ],
)
def test_a_recipe_that_the_network_cannot_follow(mine, refused, uneven, old, new, words):
    mine.write_text(TINY.replace(old, new, 1))
    assert words in refused(uneven, recipe=mine)


# From an earlier run


def test_from_begins_where_that_run_ended(mine, train, uneven, tmp_path):
    first, second = tmp_path / "runs" / "new", tmp_path / "runs" / "second"
    assert train(uneven, recipe=mine).code == 0
    still = mine.with_name("still.toml")
    still.write_text(TINY.replace("rate = 1e-2\nepochs = 2", "rate = 1e-12\nepochs = 1", 1))
    assert train(uneven, "--from", first, out=second, recipe=still).code == 0
    calibrated = json.loads((first / "metrics.json").read_text())["calibration"]["val_loss_after"]
    row = (second / "history.csv").read_text().splitlines()[1].split(",")
    assert float(row[5]) == pytest.approx(calibrated, rel=1e-4)


def test_from_a_run_that_was_trained_on_what_would_be_tested_on_or_steered_by_is_refused(mine, train, uneven, tmp_path):
    first, other = tmp_path / "runs" / "new", tmp_path / "runs" / "other"
    assert train(uneven, recipe=mine).code == 0
    done = train(uneven, "--from", first, "--seed", 3, out=other, recipe=mine)
    assert done.code == 2
    assert "test images of seed 3; give --seed 0" in done.error()
    mine.write_text(TINY.replace("val = 0.2", "val = 0.4", 1))
    done = train(uneven, "--from", first, out=other, recipe=mine)
    assert done.code == 2
    assert "val images of seed 0; give" in done.error()


def test_what_the_run_before_the_last_learnt_is_not_forgotten(mine, train, uneven, draw_classes, tmp_path):
    first, second, third = (tmp_path / "runs" / name for name in ("first", "second", "third"))
    assert train(uneven, out=first, recipe=mine).code == 0
    others = draw_classes(tmp_path / "others", {"green": 9, "red": 9}, seed=77)
    done = train(others, "--from", first, out=second, recipe=mine)
    assert done.code == 0, done.err
    done = train(uneven, "--from", second, "--seed", 3, out=third, recipe=mine)
    assert done.code == 2
    assert "test images of seed 3" in done.error()


def test_a_run_begun_from_another_is_never_worse_on_val(mine, train, uneven, tmp_path):
    first, second = tmp_path / "runs" / "new", tmp_path / "runs" / "second"
    assert train(uneven, recipe=mine).code == 0
    wild = mine.with_name("wild.toml")
    wild.write_text(TINY.replace("rate = 1e-2", "rate = 3.0", 1))
    done = train(uneven, "--from", first, out=second, recipe=wild)
    assert done.json()["kept"] == {"head": 0}
    before, after = (json.loads((run / "metrics.json").read_text())["calibration"] for run in (first, second))
    assert after["val_loss_before"] <= before["val_loss_after"] * 1.0001


def test_from_another_network_or_other_classes_is_refused(mine, train, uneven, draw_classes, tmp_path):
    first = tmp_path / "runs" / "new"
    assert train(uneven, recipe=mine).code == 0
    other = tmp_path / "runs" / "other"
    done = train(draw_classes(tmp_path / "data", {"red": 4, "blue": 4}), "--from", first, out=other, recipe=mine)
    assert done.code == 2
    assert "other classes (green, red" in done.error()
    for old, new, words in (
        ("[[stages]]", "head = { hidden = [4] }\n[[stages]]", "head"),
        ("[[stages]]", "features = { grid = 2 }\n[[stages]]", "features"),
        ('backbone = "tiny"', 'backbone = "efficientnet_lite0"\nside = 32', "backbone"),
    ):
        mine.write_text(TINY.replace(old, new, 1))
        done = train(uneven, "--from", first, out=other, recipe=mine)
        assert done.code == 2
        assert f"another {words}" in done.error()
    assert not list((tmp_path / "runs").glob("other*"))
