"""Where weights are put: what is there is used or kept, unless it is to be replaced, and processes take turns."""

import dataclasses
import fcntl
import resource
import subprocess
import sys
import threading
import time

import pytest

from facectl_runtime.errors import FacectlError, UsageError
from facectl_trainer.download import pull
from facectl_trainer.weights import BadFileError, Weights, locate
from pulls import CONTENT, HALF, OTHER, digest, get, names, ranges, refused

pypi_simple = pytest.importorskip("pypi_simple")


def test_nothing_is_asked_for_what_is_here(weights, site, folder):
    get(weights, site)
    site.asked.clear()
    done = get(weights, site)
    assert (done.found.path, done.source, site.asked) == (folder / "net.h5", None, [])


def test_into_another_folder_it_is_copied_from_what_is_here(weights, site, tmp_path):
    done = get(weights, site, to=tmp_path / "stick")
    assert (done.found.path, names(tmp_path / "stick")) == (tmp_path / "stick" / "net.h5", ["net.h5"])
    get(weights, site)
    site.asked.clear()
    done = get(weights, site, to=tmp_path / "second", offline=True)
    assert (tmp_path / "second" / "net.h5").read_bytes() == CONTENT
    assert site.asked == []
    assert get(weights, site, to=tmp_path / "second").source is None


def test_offline_asks_nothing(weights, site, folder):
    said = refused(weights, site, UsageError, offline=True)
    assert "net.h5 is not here" in said
    assert (site.asked, names(folder)) == ([], [])


def test_weights_without_a_source(weights, site):
    said = refused(dataclasses.replace(weights, url=None), site, UsageError)
    assert "FACECTL_WEIGHTS_DIR" in said


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_wrong_file_is_replaced_only_when_told_to(weights, site, folder, tmp_path, elsewhere):
    to = tmp_path / "to" if elsewhere else None
    target = (to or folder) / "net.h5"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    assert str(target) in refused(weights, site, UsageError, to=to)
    assert target.read_bytes() == b"mine"
    get(weights, site, to=to, force=True)
    assert target.read_bytes() == CONTENT


def test_a_wrong_file_that_shadows_a_right_one_is_replaced_where_it_is(weights, site, folder, tmp_path, monkeypatch):
    chosen = tmp_path / "chosen"
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(chosen))
    for place, content in ((folder, CONTENT), (chosen, b"wrong")):
        place.mkdir(parents=True)
        (place / "net.h5").write_bytes(content)
    assert f"damaged or another version: {chosen / 'net.h5'} (" in refused(weights, site, BadFileError)
    done = get(weights, site, force=True)
    assert (done.found.path, done.source, done.replaced) == (chosen / "net.h5", str(folder / "net.h5"), True)
    assert locate([weights]) == done.found
    for place, content in ((folder, b"wrong too"), (chosen, b"wrong")):
        (place / "net.h5").write_bytes(content)
    done = get(weights, site, force=True)
    assert (done.source, locate([weights])) == ("127.0.0.1", done.found)
    assert (names(chosen), (folder / "net.h5").read_bytes()) == (["net.h5"], b"wrong too")


def test_a_wrong_file_in_a_package_is_left_alone(weights, site, folder, tmp_path, monkeypatch):
    inside = tmp_path / "site" / "facectl_shadowing_weights" / "net.h5"
    inside.parent.mkdir(parents=True)
    (inside.parent / "__init__.py").touch()
    inside.write_bytes(b"wrong")
    monkeypatch.syspath_prepend(tmp_path / "site")
    packaged = dataclasses.replace(weights, package="facectl_shadowing_weights")
    said = refused(packaged, site, BadFileError, force=True)
    assert said.endswith("reinstall the package that it is in: pip install --force-reinstall facectl_shadowing_weights")
    assert (inside.read_bytes(), site.asked, names(folder)) == (b"wrong", [], [])


def test_a_wrong_file_that_nothing_can_replace(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(b"wrong")
    lone = dataclasses.replace(weights, url=None)
    assert "put the right one in its place, or delete it" in refused(lone, site, BadFileError, force=True)
    assert (folder / "net.h5").read_bytes() == b"wrong"


def test_a_wrong_file_in_the_folder_asked_for_names_the_whole_command(weights, site, tmp_path):
    (tmp_path / "net.h5").write_bytes(b"wrong")
    said = refused(weights, site, BadFileError, to=tmp_path)
    assert said.endswith(f"; facectl weights pull --force BACKBONE --to {tmp_path} replaces it")


def test_another_alternative_is_not_overwritten(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(OTHER)
    torch = Weights("torch", "net.h5", digest(OTHER), "MIT", "torch")
    with pytest.raises(UsageError, match="is 'torch', not 'imagenet'; give another folder with --to"):
        pull([weights, torch], "imagenet", client=pypi_simple.PyPISimple(site.endpoint))
    assert ((folder / "net.h5").read_bytes(), site.asked) == (OTHER, [])


def test_a_failed_replacement_leaves_what_was_there(weights, site, folder):
    folder.mkdir(parents=True)
    (folder / "net.h5").write_bytes(b"mine")
    site.files["/net.h5"] = OTHER
    refused(weights, site, force=True)
    assert (folder / "net.h5").read_bytes() == b"mine"


def test_a_full_disk(weights, site, folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        said = refused(weights, site, FacectlError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{folder / 'net.h5.part'}: cannot be written" in said
    assert (folder / "net.h5.part").stat().st_size == HALF
    get(weights, site)
    assert ranges(site)[-1] == f"bytes={HALF}-"


def test_a_folder_that_may_not_be_written(weights, site, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(weights, site, FacectlError, to=tmp_path / "file" / "deep")


PULLER = """
import sys
from facectl_trainer.download import pull
from facectl_trainer.weights import Weights
url, digest, size = sys.argv[1:]
print(pull([Weights("imagenet", "net.h5", digest, "MIT", "tf", url=url, size=int(size))]).source)
"""


def test_two_pulls_at_once(weights, site, folder):
    site.pause = threading.Event()
    words = [sys.executable, "-c", PULLER, weights.url, weights.digest, str(weights.size)]
    pulls = []
    for _ in range(2):
        pulls.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        while len(pulls) == 1 and not site.asked:
            assert pulls[0].poll() is None, pulls[0].communicate()
            time.sleep(0.01)
    assert "another process is at it; waiting for it" in pulls[1].stderr.readline()
    site.pause.set()
    answers = [process.communicate(timeout=60) for process in pulls]
    assert [process.returncode for process in pulls] == [0, 0], answers
    assert (len(site.asked), names(folder)) == (1, ["net.h5"])
    assert (folder / "net.h5").read_bytes() == CONTENT


def test_a_part_that_another_process_took_away_meanwhile(weights, site, folder):
    folder.mkdir(parents=True)
    got = []
    with (folder / "net.h5.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: got.append(get(weights, site)))
        thread.start()
        thread.join(0.2)
        assert not got
        (folder / "net.h5.part").unlink()
    thread.join(10)
    assert got
    assert (folder / "net.h5").read_bytes() == CONTENT
