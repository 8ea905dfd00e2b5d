"""The detector's file of weights: where it is looked for, what is refused, and one detector for all who ask."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import msgspec
import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.faces import detect
from facectl_runtime.faces.detect import DETECTOR, Detector, locate
from red_cells import red_cells


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Make the two folders where weights are looked for, empty."""
    chosen, own = tmp_path / "chosen", tmp_path / "home" / "weights"
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(chosen))
    monkeypatch.setenv("FACECTL_HOME", str(own.parent))
    chosen.mkdir()
    own.mkdir(parents=True)
    return chosen, own


@pytest.fixture
def pinned(monkeypatch):
    """Pin the content `right` in the place of YuNet's."""
    digest = "8fae2fd0afba65b89afc5d81af3f4d2c7b6bf7d0e39ef0c2e9fb2b6a1a5d1e53"
    monkeypatch.setattr(detect, "content_hash", lambda path: digest if path.read_text() == "right" else "0" * 64)
    monkeypatch.setattr(detect, "DETECTOR", msgspec.structs.replace(DETECTOR, sha256=digest))


@pytest.mark.usefixtures("pinned")
def test_weights_are_taken_from_the_folder_named_and_then_from_facectls_own(folders):
    chosen, own = (folder / DETECTOR.file for folder in folders)
    own.write_text("right")
    assert locate() == own
    chosen.write_text("right")
    assert locate() == chosen


def test_weights_that_are_missing_are_said_in_a_line_that_helps(folders, monkeypatch):
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR")
    with pytest.raises(UsageError) as caught:
        locate()
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"{DETECTOR.file} was not found: run facectl weights pull yunet, or put it into {folders[1]} or into the "
        "folder that FACECTL_WEIGHTS_DIR names"
    )


@pytest.mark.usefixtures("pinned")
def test_weights_of_other_content_are_refused_even_where_a_right_file_lies_behind(folders):
    chosen, own = (folder / DETECTOR.file for folder in folders)
    chosen.write_text("wrong")
    own.write_text("right")
    with pytest.raises(UsageError, match=r"damaged or another version: .*its digest is sha256:0{12}…") as caught:
        locate()
    assert caught.value.exit_code == 5
    assert str(chosen) in str(caught.value)


def test_weights_that_cannot_be_read_are_said(folders, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (folders[0] / DETECTOR.file).touch()
    monkeypatch.setattr(detect, "content_hash", refuse)
    with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)") as caught:
        locate()
    assert caught.value.exit_code == 5


def test_threads_that_ask_at_once_share_one_detector(tmp_path, monkeypatch):
    path, opened, barrier = red_cells(tmp_path / "red.onnx"), Counter(), Barrier(8)

    def found():
        opened["times"] += 1
        return path

    def ask(_):
        barrier.wait(10)
        return detect.shared_detector()

    monkeypatch.setattr(detect, "locate", found)
    detect._shared.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        detectors = set(pool.map(ask, range(8)))
    detect._shared.cache_clear()
    assert len(detectors) == 1
    assert opened["times"] == 1


@pytest.mark.usefixtures("folders")
def test_a_shared_detector_that_could_not_be_opened_is_tried_again(monkeypatch, tmp_path):
    detect._shared.cache_clear()
    with pytest.raises(UsageError, match="not found"):
        detect.shared_detector()
    monkeypatch.setattr(detect, "locate", lambda: red_cells(tmp_path / "red.onnx"))
    assert isinstance(detect.shared_detector(), Detector)
    detect._shared.cache_clear()
