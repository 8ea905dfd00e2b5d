"""The ladder: every variant of a recipe, compared on one page, and taken up where it was left."""

import shutil

import pytest

from facectl_trainer.recipe import variants
from facectl_trainer.run import read_run
from tiny_network import TINY

pytest.importorskip("tf_keras")
pytest.importorskip("matplotlib")


@pytest.fixture
def mine(tiny, tmp_path):  # noqa: ARG001  # it adds the backbone
    (tmp_path / "mine.toml").write_text(TINY)
    return tmp_path / "mine.toml"


def test_every_variant_is_trained_and_compared(mine, train, uneven, facectl, tmp_path):
    out = tmp_path / "runs" / "mine"
    done = train(uneven, "--ladder", out=out, recipe=mine)
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == ["compare.html", "scratch", "top"]
    assert [read_run(out / name).spec.provenance.recipe for name in variants(str(mine))] == ["mine/top", "mine/scratch"]
    assert "top" in done.out
    assert "scratch" in done.out
    before = {name: (out / name / "model.keras").stat().st_mtime_ns for name in ("top", "scratch")}
    again = train(uneven, "--ladder", "--resume", out=out, recipe=mine)
    assert again.code == 0, again.err
    assert {name: (out / name / "model.keras").stat().st_mtime_ns for name in before} == before
    compared = facectl("train", "compare", out / "top", out / "scratch", "--out", tmp_path / "page.html")
    assert compared.code == 0, compared.err
    again = facectl("train", "compare", out / "top", out / "scratch", "--out", tmp_path / "page.html")
    assert again.code == 2
    assert again.out == compared.out.replace(f"{tmp_path / 'page.html'} is ready; open it\n", "")
    assert "<html" in (tmp_path / "page.html").read_text()
    assert "scratch" in compared.out


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--fold", "1/4"], "another fold"), (["--balance", "sampling"], "another recipe's balance")],
)
def test_rungs_of_another_training_are_not_taken_for_this_one(mine, train, uneven, tmp_path, options, words):
    out = tmp_path / "runs" / "mine"
    assert train(uneven, "--ladder", out=out, recipe=mine).code == 0
    done = train(uneven, "--ladder", "--resume", *options, out=out, recipe=mine)
    assert done.code == 2
    assert words in done.error()
    assert "--force" in done.error()


def test_what_is_left_out_is_said_once(mine, train, uneven, tmp_path):
    data = shutil.copytree(uneven, tmp_path / "data")
    (data / "red" / "broken.png").write_bytes(b"no picture")
    done = train(data, "--ladder", recipe=mine)
    assert done.code == 0, done.err
    assert done.err.count("left out: 1: red/broken.png") == 1


def test_a_ladder_keeps_out_of_run_folders(mine, train, uneven, tmp_path):
    out = tmp_path / "runs" / "new"
    assert train(uneven, recipe=mine, out=out).code == 0
    done = train(uneven, "--ladder", recipe=mine, out=out)
    assert done.code == 2
    assert "is a run folder" in done.error()
    assert not (out / "top").exists()


def test_a_ladder_has_no_preview(mine, train, uneven, tmp_path):
    done = train(uneven, "--ladder", "--preview", tmp_path / "p.png", recipe=mine)
    assert done.code == 2
    assert "leave --preview out" in done.error()


def test_a_recipe_without_variants_has_no_ladder(train, uneven):
    done = train(uneven, "--ladder", recipe="shapes")
    assert done.code == 2
    assert "has none" in done.error()


def test_one_run_is_nothing_to_compare(facectl, tmp_path):
    done = facectl("train", "compare", tmp_path)
    assert done.code == 2
    assert "two or more run folders" in done.error()
