"""Runs side by side: the numbers, the page, and what is refused."""

import re

import numpy as np
import pytest

from drawn_run import draw_run
from facectl_runtime.errors import ModelError, UsageError
from facectl_runtime.metrics import paired_drop
from facectl_trainer.reports.compare import comparison, table, write_compare

LABELS = ["cat", "dog", "<b>cow"]
FOLDERS = ["cat", "dog", "cow"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs tested on the same images, and one on others."""
    place = tmp_path_factory.mktemp("compared")
    first = draw_run(place / "plain", place / "data", LABELS, each=4, wrong=[0, 1, 5, 9], folders=FOLDERS)
    second = draw_run(place / "augmented", place / "data", LABELS, each=4, wrong=[0, 3], folders=FOLDERS)
    third = draw_run(place / "elsewhere", place / "others", LABELS, each=5, folders=FOLDERS)
    return [first, second, third]


def test_a_row_says_what_the_run_folder_holds(runs):
    row = comparison(runs).rows[1]
    assert (row.name, row.recipe, row.backbone, row.n, row.epochs) == ("augmented", "zoo", "efficientnet_lite0", 12, 7)
    assert row.accuracy == pytest.approx(10 / 12)
    assert row.interval[0] < row.accuracy < row.interval[1]
    assert row.val_accuracy == pytest.approx(0.86)
    assert row.seconds == pytest.approx(7 * 1.5)
    assert 0 < row.macro_f1 < 1
    assert row.size == (runs[1] / "model.keras").stat().st_size


def test_the_difference_is_paired_where_the_test_images_are_the_same(runs):
    first, second, third = comparison(runs).rows
    before, after = (~np.isin(np.arange(12), wrong) for wrong in ([0, 1, 5, 9], [0, 3]))
    drop, low, high = paired_drop(before, after)
    assert (second.gain.value, second.gain.low, second.gain.high) == pytest.approx((-drop, -high, -low))
    assert second.gain.value == pytest.approx(2 / 12)
    assert second.gain.n == 12
    assert first.gain is None
    assert third.gain is None


def test_the_same_images_are_known_by_content(runs, tmp_path):
    """The data folder has moved, and its class folders have other names."""
    moved = draw_run(tmp_path / "moved", tmp_path / "data", LABELS, each=4, wrong=[0], folders=["a", "b", "c"])
    assert comparison([runs[0], moved]).rows[1].gain.value == pytest.approx(3 / 12)


def test_the_table_has_a_line_a_run(runs):
    lines = table(comparison(runs)).splitlines()
    assert [line.split()[0] for line in lines] == ["run", "plain", "augmented", "elsewhere"]
    assert "+0.167" in lines[2]
    assert "seconds of epochs" in lines[0]


def test_equal_accuracies_differ_by_a_zero_without_a_sign(runs, tmp_path):
    same = draw_run(tmp_path / "same", runs[0].parent / "data", LABELS, each=4, wrong=[0, 1, 5, 9], folders=FOLDERS)
    assert " 0.000 (" in table(comparison([runs[0], same]))


def test_two_runs_of_one_name_are_told_apart_by_their_folders(runs, tmp_path):
    twin = draw_run(tmp_path / "plain", tmp_path / "data", LABELS, each=4, folders=FOLDERS)
    assert [row.name for row in comparison([runs[0], twin]).rows] == [str(runs[0]), str(twin)]


def test_the_page_opens_alone(runs, tmp_path):
    pytest.importorskip("matplotlib")
    page = write_compare(comparison(runs), tmp_path / "new" / "compare.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    assert len(links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert "&lt;b&gt;cow" in page
    assert "<b>cow" not in page
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["compare.html"]


def test_a_page_that_is_there_is_replaced_only_when_asked(runs, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "compare.html"
    out.write_text("mine")
    with pytest.raises(UsageError, match="already there"):
        write_compare(comparison(runs), out)
    assert out.read_text() == "mine"
    write_compare(comparison(runs), out, force=True)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(UsageError, match="a folder"):
        write_compare(comparison(runs), tmp_path)


def test_runs_of_different_classes_are_refused(runs, tmp_path):
    other = draw_run(tmp_path / "other", tmp_path / "data", ["cat", "horse"], each=1)
    with pytest.raises(UsageError, match="its 2 classes are not the 3 of"):
        comparison([runs[0], other])


def test_no_runs_one_twice_and_no_run_are_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="no runs"):
        comparison([])
    with pytest.raises(UsageError, match="given twice"):
        comparison([runs[0], runs[0].parent / "." / "plain"])
    with pytest.raises(ModelError, match="not a run folder"):
        comparison([runs[0], tmp_path])
