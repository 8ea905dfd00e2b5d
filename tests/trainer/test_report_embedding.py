"""The report of an embedding: its numbers counted anew, pair by pair, and what it shows of whom."""

import csv
import html
import json
import re
import shutil
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers import call

pytest.importorskip("tf_keras")
pytest.importorskip("matplotlib")

from facectl_runtime.errors import ModelError
from facectl_trainer.reports import alike, embedding
from facectl_trainer.reports.alike import (
    BINS,
    count_cosines,
    least_alike,
    most_alike,
    worst_apart,
)
from facectl_trainer.reports.embedding import curves, headline, look_alikes, roc, write_report
from facectl_trainer.reports.photographs import Photographs
from facectl_trainer.reports.results import read_embedded

RECIPE = """
backbone = "tiny"
people = true
resize = { kind = "squash" }
split = { test = 0.4, val = 0.2 }
embed = { layers = [{ width = 16, activation = "linear" }] }
stages = [{ train = "head", optimizer = "adam", rate = 1e-2, epochs = 3, patience = 3 }]
"""
PICTURES = {"learning-curves", "roc", "alike", "most-alike", "least-alike"}


@pytest.fixture(scope="module")
def run(tiny_weights, tmp_path_factory):
    """Train an embedding of 24 people of 2 to 4 pictures, whose names are markup; gives its folder."""
    from facectl_trainer.backbones import BACKBONES

    place = tmp_path_factory.mktemp("embedding")
    (place / "faces.toml").write_text(RECIPE)
    random = np.random.default_rng(5)
    for number in range(24):
        colour = random.integers(60, 200, 3)
        folder = place / "data" / f"<i>{number:02} & co"
        folder.mkdir(parents=True)
        for count in range(2 + number % 3):
            pixels = random.normal(colour + random.normal(0, 25, 3), 20, (48, 48, 3))
            Image.fromarray(np.uint8(pixels.clip(0, 255))).save(folder / f"{count}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", tiny_weights[1])
        patch.setenv("FACECTL_WEIGHTS_DIR", str(tiny_weights[0]))
        patch.setenv("FACECTL_HOME", str(place / "home"))
        words = ["train", place / "faces.toml", "--data", place / "data", "--out", place / "run"]
        done = call(*words, "--device", "cpu", "--quiet")
    assert done.code == 0, done.err
    return place / "run"


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def text(folder):
    """Read what stands on a page, without its style, contents and tags."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<(style|nav)>.*?</\1>|<[^>]*>", "\n", page, flags=re.DOTALL))


def sections(folder):
    return re.findall(r'<section id="(.*?)"', (folder / "report.html").read_text(encoding="utf-8"))


class Board:
    """Takes what TensorBoard is given."""

    def embeddings(self, *given):
        self.given = given


def report(folder):
    board = Board()
    assert write_report(folder, SimpleNamespace(board=board), quiet=True) == folder / "report.html"
    return board.given


def by_hand(folder):
    """Give the test images, and the pairs of one person and of different people as {(path, path): cosine}."""
    images = json.loads((folder / "split.json").read_text())["parts"]["test"]
    values = np.load(folder / "embeddings.npy").astype(float)
    same, different = {}, {}
    for (a, one), (b, other) in combinations(enumerate(images), 2):
        pairs = same if one["label"] == other["label"] else different
        pairs[one["path"], other["path"]] = float(values[a] @ values[b])
    return images, same, different


def names(*paths):
    return " | ".join(dict.fromkeys(path.split("/")[0] for path in paths))


def test_the_headline_holds_what_all_pairs_say(run):
    images, same, different = by_hand(run)
    people = {image["label"] for image in images}
    wins = np.mean([(a > b) + (a == b) / 2 for a in same.values() for b in different.values()])
    shown = text(run)
    assert f"{len(images)} photographs of {len(people)} people: {len(same)} pairs of one person" in shown
    assert f"and {len(different)} of different people" in shown
    assert float(re.search(r"AUC\n+(\d\.\d+)", shown)[1]) == pytest.approx(wins, abs=2e-4)
    assert float(re.search(r"(\d\.\d+) *\n+AUC; 0.5 is chance", shown)[1]) == pytest.approx(wins, abs=1e-3)
    assert "random sampling, margin 0.2" in shown
    assert "facectl export run" in shown
    assert "mind who it is given to" in shown


def test_the_first_cards_are_the_worst_pairs(run):
    _, same, different = by_hand(run)
    shown = text(run)
    for name, pairs, worst in (("Different people, most alike", different, max), ("One person, least", same, min)):
        (first, second), cosine = worst(pairs.items(), key=lambda item: item[1])
        cards = re.search(rf"\n{name}.*?\n\n(.*)", shown, re.DOTALL)[1]
        found = re.search(r"\n([^\n]+)\n+cosine (-?\d\.\d+)\n+(\S+)\n+(\S+)", cards)
        assert found[1] == names(first, second)
        assert float(found[2]) == pytest.approx(cosine, abs=1e-3)
        assert [found[3], found[4]] == [path.split("/")[1] for path in (first, second)]


def test_the_table_begins_with_who_is_told_apart_worst(run):
    images, same, different = by_hand(run)
    owner = {image["path"]: image["label"] for image in images}
    people = sorted(set(owner.values()))
    own = {name: np.mean([value for (a, _), value in same.items() if owner[a] == name]) for name in people}
    across = {
        name: max(
            (np.mean([v for (a, b), v in different.items() if {owner[a], owner[b]} == {name, other}]), other)
            for other in people
            if other != name
        )
        for name in people
    }
    worst = min(people, key=lambda name: own[name] - across[name][0])
    cells = [cell for cell in text(run).split("difference\n")[-1].split("\n") if cell][:6]
    assert cells[:2] == [worst, str(list(owner.values()).count(worst))]
    assert cells[3] == across[worst][1]
    expected = [own[worst], across[worst][0], own[worst] - across[worst][0]]
    assert [float(cells[place]) for place in (2, 4, 5)] == pytest.approx(expected, abs=1e-3)


def test_the_page_opens_alone_and_the_same_pictures_stand_beside_it(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert sections(run) == ["learning-curves", "roc", "alike", "most-alike", "least-alike", "people"]
    assert "<i>0" not in page
    assert all(link.startswith(("data:image/", "#")) for link in re.findall(r'(?:src|srcset|href)="(.*?)"', page))
    assert {path.stem for path in (run / "report").iterdir()} == PICTURES


def test_tensorboard_is_given_the_test_photographs(run):
    images, _, _ = by_hand(run)
    folder = run / "tensorboard" / "val" / "plugins" / "org_tensorflow_tensorboard_projector"
    rows = list(csv.reader((folder / "metadata.tsv").open(encoding="utf-8"), delimiter="\t"))
    assert rows == [["person", "photograph"], *([image["label"], image["path"]] for image in images)]
    np.testing.assert_allclose(np.loadtxt(folder / "embeddings.tsv"), np.load(run / "embeddings.npy"), rtol=1e-6)
    assert (folder / "sprite.jpg").is_file()


def test_without_photographs_the_page_says_so(copy):
    data = json.loads((copy / "split.json").read_text())
    (copy / "split.json").write_text(json.dumps(data | {"root": str(copy / "gone")}))
    _, _, thumbnails = report(copy)
    assert sections(copy) == ["learning-curves", "roc", "alike", "people"]
    assert f"{len(data['parts']['test'])} photographs could not be shown" in text(copy)
    assert set(thumbnails) == {None}


def test_a_pair_needs_both_photographs(copy, tmp_path):
    split = json.loads((copy / "split.json").read_text())
    moved = shutil.copytree(split["root"], tmp_path / "data")
    (copy / "split.json").write_text(json.dumps(split | {"root": str(moved)}))
    _, _, different = by_hand(copy)
    (first, second), _ = max(different.items(), key=lambda item: item[1])
    (moved / second).unlink()
    results = read_embedded(copy)
    photographs = Photographs(results.run)
    shown = [
        card.lines[2:] for card in look_alikes(results, photographs).cards if card.lines[0] == names(first, second)
    ]
    assert (first.split("/")[1], second.split("/")[1]) not in shown
    assert list(photographs.missing) == [second]


def test_where_nothing_was_trained_there_are_no_curves(copy):
    (copy / "history.csv").write_text((copy / "history.csv").read_text().splitlines()[0] + "\n")
    recipe = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps(recipe | {"stages": [], "embed": {**recipe["embed"], "layers": []}}))
    results = read_embedded(copy)
    assert curves(results) is None
    assert "margin" not in headline(results)
    assert "<dt>made</dt>" in headline(results)


def test_the_curves_show_the_margin_and_the_spread_where_it_is_known(copy):
    shown = curves(read_embedded(copy))
    assert shown.charts[0].height == 9
    assert "Stage 1 (head): epochs 1 to 3." in shown.reading
    rows = list(csv.DictReader((copy / "history.csv").open()))
    with (copy / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "val_spread"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert curves(read_embedded(copy)).charts[0].height == 6


def test_the_rate_at_one_in_a_thousand_is_the_figure_where_it_is_there(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["test"] |= {"tar_at_far_1e3": 0.8762, "same": 2000, "different": 4047}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    results = read_embedded(copy)
    shown = headline(results)
    assert "87.6 % <span>TAR at FAR 1e-3" in shown
    assert "of the 2,000 pairs of one person" in shown
    assert "4 of 4,047" in shown
    assert "points of 6,047 drawn ones" in roc(results, count_cosines(results.embeddings, results.who)).reading


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics.json", b"{}"), ("embeddings.npy", b"\x93NUMPY"), ("history.csv", b"stage,epoch\nhead,first\n")],
)
def test_a_damaged_file_is_named(copy, name, content):
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        report(copy)


def test_embeddings_that_are_not_of_length_1_are_named(copy):
    np.save(copy / "embeddings.npy", 2 * np.load(copy / "embeddings.npy"))
    with pytest.raises(ModelError, match=r"embeddings\.npy: .*L2 norm 1.*train again"):
        report(copy)


# The numbers, of more photographs than are compared at once


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(alike, "_ROWS", 100)


def scattered():
    """Give 650 embeddings of 160 people or so, and whose they are; several have one photograph alone."""
    random = np.random.default_rng(0)
    who = np.unique(random.integers(0, 300, 650) ** 2 // 300, return_inverse=True)[1].astype(np.int32)
    assert (np.bincount(who) > 1).sum() > 100
    values = random.normal(size=(who.max() + 1, 8))[who] + random.normal(size=(len(who), 8))
    return unit(values), who


def crowded(towards):
    """Give embeddings of which a few are for all others the nearest (1) or the farthest (-1)."""
    random = np.random.default_rng(1)
    values = 0.5 * random.normal(size=(250, 8)) + np.eye(8)[0]
    values[-20:] = towards * np.eye(8)[0] + 0.01 * random.normal(size=(20, 8))
    return unit(values), np.arange(250, dtype=np.int32) % 5


def unit(values):
    return np.float32(values / np.linalg.norm(values, axis=1, keepdims=True))


def pairs(embeddings, who):
    first, second = np.triu_indices(len(who), 1)
    cosines = np.einsum("nd,nd->n", embeddings[first].astype(float), embeddings[second].astype(float))
    return first, second, cosines, who[first] == who[second]


def test_every_pair_is_counted_once_in_its_bin():
    photographs = scattered()
    _, _, cosines, same = pairs(*photographs)
    found = count_cosines(*photographs)
    assert (found.same.sum(), found.different.sum()) == (same.sum(), (~same).sum())
    for counts, values in ((found.same, cosines[same]), (found.different, cosines[~same])):
        for edge in (BINS // 4, BINS // 2, 9 * BINS // 10):
            assert counts[edge:].sum() == pytest.approx((values >= found.edges[edge]).sum(), abs=2)
    far, tar = found.rates()
    assert (far[0], tar[0], far[-1], tar[-1]) == (0, 0, 1, 1)
    place = np.argmin(np.abs(far - 0.1))
    assert tar[place] == pytest.approx((cosines[same] >= np.quantile(cosines[~same], 1 - far[place])).mean(), abs=1e-3)


def test_embeddings_that_are_all_one_are_counted_too():
    found = count_cosines(np.ones((5, 1), np.float32), np.array([0, 0, 1, 1, 2], np.int32))
    assert (found.same.sum(), found.different.sum()) == (2, 8)


@pytest.mark.parametrize("photographs", [scattered(), crowded(1), crowded(-1)], ids=["scattered", "near", "far"])
@pytest.mark.parametrize(("find", "one"), [(most_alike, False), (least_alike, True)])
def test_the_worst_pairs_are_those_of_a_search_through_all(photographs, find, one):
    first, second, cosines, same = pairs(*photographs)
    score = np.where(same == one, -cosines if one else cosines, -np.inf)
    found = find(*photographs, 12)
    assert len(found) == 12
    for each in found:
        best = int(score.argmax())
        assert each.cosine == pytest.approx(cosines[best], abs=1e-6)
        assert (each.first, each.second) == (first[best], second[best])
        taken = [first[best], second[best]]
        score[np.isin(first, taken) | np.isin(second, taken)] = -np.inf


def test_few_photographs_make_few_pairs():
    embeddings = np.float32([[1, 0], [0, 1], [0.6, 0.8]])
    assert [tuple(pair)[:2] for pair in most_alike(embeddings, np.array([0, 0, 1]), 12)] == [(1, 2)]
    assert [tuple(pair)[:2] for pair in least_alike(embeddings, np.array([0, 0, 1]), 12)] == [(0, 1)]


def test_people_are_ordered_by_how_far_apart_they_are():
    embeddings, who = scattered()
    first, second, cosines, same = pairs(embeddings, who)
    counts = np.bincount(who)
    found = worst_apart(embeddings, who, 10_000)
    assert sorted(each.person for each in found) == np.flatnonzero(counts > 1).tolist()
    gaps = [each.own - each.across for each in found]
    assert gaps == sorted(gaps)
    for each in found[::15]:
        mine = (who[first] == each.person) | (who[second] == each.person)
        assert each.own == pytest.approx(cosines[mine & same].mean(), abs=1e-6)
        others = np.where(who[first] == each.person, who[second], who[first])[mine & ~same]
        means = np.bincount(others, cosines[mine & ~same]) / np.maximum(np.bincount(others), 1)
        means[each.person] = -2
        assert (each.other, each.across) == (means.argmax(), pytest.approx(means.max(), abs=1e-6))
        assert each.photographs == counts[each.person]


def test_of_very_many_photographs_whole_people_are_projected(monkeypatch, copy):
    assert embedding.PROJECTED == 2000
    monkeypatch.setattr(embedding, "PROJECTED", 7)
    monkeypatch.setattr(embedding, "write_sections", lambda *given: [build() for build in given[3][-1:]])
    write_report(copy, SimpleNamespace(board=(board := Board())), quiet=True)
    values, columns, thumbnails = board.given
    images, _, _ = by_hand(copy)
    assert len(values) == len(thumbnails) == len(columns["person"]) == 7
    paths = [image["path"] for image in images]
    assert [paths.index(path) for path in columns["photograph"]] == sorted(map(paths.index, columns["photograph"]))
    np.testing.assert_array_equal(
        values, np.load(copy / "embeddings.npy")[[paths.index(path) for path in columns["photograph"]]]
    )
    labels = [image["label"] for image in images]
    cut = [name for name in set(columns["person"]) if columns["person"].count(name) < labels.count(name)]
    assert len(cut) <= 1
