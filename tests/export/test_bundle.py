"""What an export leaves: whole, accounted for by checksums, and never in the place of something of the user's."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from drawn_export import export, row
from facectl_export import bundle
from facectl_export.bundle import deliver, merged, of_network, standing, zipped_size
from facectl_export.measured import Export
from facectl_runtime.errors import UsageError
from facectl_runtime.files import scratch_beside
from facectl_runtime.labelled import content_hash
from tiny_network import full_disk

NETWORK, OTHER = "a" * 64, "b" * 64
PAGES = {bundle.PAGE: "<!doctype html>", bundle.CARD: "# zoo\n"}
FP32, INT8, LITE, CORE = row(), row("onnx", "int8"), row("tflite", "fp32"), row("coreml", "fp16")


def made(scratch, one, text):
    """Write what a converter would have: a file, or a Core ML folder."""
    path = scratch / one.file
    if one.format == "coreml":
        (path / "Data" / "weights").mkdir(parents=True)
        (path / "Manifest.json").write_text("{}")
        (path / "Data" / "weights" / "weight.bin").write_text(text)
    else:
        path.write_text(text)
    return path


def check_out(out, network, force):
    """Look at `out` as the command does before it begins."""
    return of_network(standing(out), network, force, out)


def put(out, *rows, text="1", given=PAGES, **more):
    """Export into `out` as the command does: look first, make, then deliver."""
    earlier = check_out(out, NETWORK, force=False)
    with scratch_beside(out) as scratch:
        files = {one.file: made(scratch, one, text) for one in rows}
        deliver(merged(export(*rows, **more), earlier), files, given, out, scratch, force=False)
    return out


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def report(out):
    return msgspec.json.decode((out / "report.json").read_bytes(), type=Export)


def names(out):
    return [one.file for one in report(out).files]


@pytest.fixture
def out(tmp_path):
    return put(tmp_path / "export", FP32, CORE)


# What is there afterwards


def test_the_folder_holds_the_files_and_a_checksum_of_each(out):
    parts = ["Data/weights/weight.bin", "Manifest.json"]
    package = [f"zoo.fp16.mlpackage/{part}" for part in parts]
    assert list(contents(out)) == ["MODEL_CARD.md", "SHA256SUMS", "report.html", "report.json", *package, "zoo.onnx"]
    listed = [line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()]
    assert listed == sorted(name for name in contents(out) if name != "SHA256SUMS")
    assert names(out) == ["zoo.onnx", "zoo.fp16.mlpackage"]
    assert [path.name for path in out.parent.iterdir()] == ["export"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_sha256sum_takes_the_list(out):
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=out, check=False).returncode == 0
    (out / "zoo.onnx").write_text("2")
    assert subprocess.run(check, cwd=out, check=False, capture_output=True).returncode == 1


def test_the_report_is_laid_out_for_reading_and_reads_back_the_same(out):
    assert (out / "report.json").read_text().count("\n") > 30
    assert report(out) == export(FP32, CORE)


def test_the_folder_can_be_read_by_whom_the_umask_lets(out):
    (out.parent / "plain").mkdir()
    assert out.stat().st_mode == (out.parent / "plain").stat().st_mode


def test_a_missing_place_and_an_empty_one_are_free(tmp_path):
    assert check_out(tmp_path / "not" / "yet", NETWORK, force=False) is None
    (tmp_path / "empty").mkdir()
    assert check_out(tmp_path / "empty", NETWORK, force=False) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]
    assert "zoo.onnx" in contents(put(tmp_path / "empty", FP32))


# Again into the same folder


def test_what_is_not_made_anew_is_carried_over_with_its_row(out):
    put(out, LITE, FP32, text="2", seconds=5.0)
    assert names(out) == ["zoo.onnx", "zoo.tflite", "zoo.fp16.mlpackage"]
    found = contents(out)
    assert (found["zoo.onnx"], found["zoo.tflite"]) == (b"2", b"2")
    assert found["zoo.fp16.mlpackage/Data/weights/weight.bin"] == b"1"
    assert report(out).seconds == 5.0
    assert check_out(out, NETWORK, force=False) == report(out)
    assert [path.name for path in out.parent.iterdir()] == ["export"]


def test_a_core_ml_folder_made_anew_keeps_nothing_of_the_old_one(tmp_path):
    out = put(tmp_path / "export", CORE)
    put(out, CORE, text="22")
    assert contents(out)["zoo.fp16.mlpackage/Data/weights/weight.bin"] == b"22"


def test_carried_over_where_there_are_no_hard_links(out, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    put(out, LITE)
    assert contents(out)["zoo.onnx"] == b"1"
    assert check_out(out, NETWORK, force=False) == report(out)


def test_how_ranges_were_found_stays_said_while_a_file_has_them(tmp_path):
    out = put(tmp_path / "export", replace(INT8, calibration="entropy over 64 training images"))
    put(out, FP32)
    assert report(out).calibration == "entropy over 64 training images"
    put(out, replace(INT8, calibration="minmax over 512 training images"))
    assert report(out).calibration == "minmax over 512 training images"


def test_an_export_that_came_meanwhile_is_not_replaced(tmp_path):
    out = put(tmp_path / "export", FP32)
    earlier = check_out(out, NETWORK, force=False)
    put(out, LITE)
    before = contents(out)
    with scratch_beside(out) as scratch, pytest.raises(UsageError, match="another export came to stand there"):
        deliver(merged(export(INT8), earlier), {INT8.file: made(scratch, INT8, "2")}, PAGES, out, scratch, force=False)
    assert contents(out) == before


def test_an_export_of_another_network_that_came_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "export"
    assert check_out(out, OTHER, force=False) is None
    put(out, FP32)
    before = contents(out)
    with scratch_beside(out) as scratch:
        files = {LITE.file: made(scratch, LITE, "2")}
        with pytest.raises(UsageError, match="an export of another network is there"):
            deliver(export(LITE, network_sha256=OTHER), files, PAGES, out, scratch, force=False)
    assert contents(out) == before


def test_a_file_that_was_deleted_loses_its_row(out):
    shutil.rmtree(out / "zoo.fp16.mlpackage")
    put(out, INT8)
    assert names(out) == ["zoo.onnx", "zoo.int8.onnx"]


def test_a_core_ml_folder_of_which_a_part_is_gone_is_named(out):
    (out / "zoo.fp16.mlpackage" / "Manifest.json").unlink()
    with pytest.raises(UsageError, match=r"Manifest\.json: gone, and a part of zoo\.fp16\.mlpackage; put it back"):
        check_out(out, NETWORK, force=False)


def test_what_a_finder_leaves_is_no_stranger(out):
    (out / ".DS_Store").touch()
    assert check_out(out, NETWORK, force=False) is not None


def test_another_network_is_replaced_only_on_request_and_leaves_nothing(out):
    with pytest.raises(UsageError, match=r"another network is there \(zoo, 2026-11-20T10:11:12Z\); .* or --force"):
        check_out(out, OTHER, force=False)
    assert check_out(out, OTHER, force=True) is None
    with scratch_beside(out) as scratch:
        deliver(
            export(LITE, network_sha256=OTHER), {LITE.file: made(scratch, LITE, "2")}, PAGES, out, scratch, force=True
        )
    assert set(contents(out)) == {"MODEL_CARD.md", "SHA256SUMS", "report.html", "report.json", "zoo.tflite"}


# What is of the user


def refused(out, said):
    before = contents(out)
    for force in (False, True):
        with pytest.raises(UsageError, match=said) as error:
            check_out(out, NETWORK, force)
        assert "\n" not in str(error.value)
    assert contents(out) == before


@pytest.mark.parametrize("name", ["notes.txt", "zoo.fp16.mlpackage/notes.txt", "a/b/notes.txt"])
def test_a_stranger_is_named(out, name):
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    refused(out, rf"export/{name}: no part of an export; give another --out")


def test_so_are_a_link_and_an_empty_folder(out):
    (out / "photographs").symlink_to(out.parent)
    refused(out, "photographs: no part of an export")
    (out / "photographs").unlink()
    (out / "mine").mkdir()
    refused(out, "mine: no part of an export")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "b.txt").touch()
    (tmp_path / "a.txt").touch()
    refused(tmp_path, r"a\.txt: no part of an export")


@pytest.mark.parametrize("name", ["report.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe", b'{"name": 3}'])
def test_a_damaged_account_is_no_account(out, name, damage):
    (out / name).write_bytes(damage)
    refused(out, f"{name}: no part of an export")


@pytest.mark.parametrize("name", ["report.json", "SHA256SUMS"])
def test_without_its_account_a_folder_is_somebody_elses(out, name):
    (out / name).unlink()
    refused(out, r"MODEL_CARD\.md: no part of an export")


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "zoo.onnx", "zoo.fp16.mlpackage/Manifest.json"])
def test_what_was_edited_is_not_lost(out, name):
    with (out / name).open("a") as file:
        file.write("mine")
    refused(out, f"{name}: changed since it was exported, and would be lost")


@pytest.mark.parametrize("change", ["stranger", "edit", "delete"])
def test_what_comes_to_be_there_meanwhile_is_not_lost_either(out, change):
    earlier = check_out(out, NETWORK, force=False)
    path = out / ("notes.txt" if change == "stranger" else "zoo.onnx")
    path.write_text("mine")
    if change == "delete":
        path.unlink()
    before = contents(out)
    with scratch_beside(out) as scratch, pytest.raises(UsageError, match=rf"{path.name}: (no part|changed|gone since)"):
        deliver(merged(export(LITE), earlier), {LITE.file: made(scratch, LITE, "2")}, PAGES, out, scratch, force=False)
    assert contents(out) == before


def test_a_report_that_names_files_elsewhere_brings_none_of_them(tmp_path):
    (tmp_path / "secret").write_text("x")
    out = put(tmp_path / "export", FP32)
    text = (out / "report.json").read_text().replace('"zoo.onnx"', '"../secret"')
    (out / "report.json").write_text(text)
    names = [*(contents(out).keys() - {"SHA256SUMS"}), "../secret"]
    (out / "SHA256SUMS").write_text("".join(f"{content_hash(out / name)}  {name}\n" for name in names))
    assert check_out(out, NETWORK, force=False).files == ()


# Where nothing can be put


def test_a_file_is_no_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: a file; --out takes a folder"):
        check_out(tmp_path / "file", NETWORK, force=False)
    with pytest.raises(UsageError, match=r"below: cannot be used \(.*[Nn]ot a directory"):
        check_out(tmp_path / "file" / "below", NETWORK, force=False)


def test_a_link_is_no_place(tmp_path, out):
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UsageError, match=rf"link: a link, .* --out {out}"):
        check_out(tmp_path / "link", NETWORK, force=False)


def test_the_folder_one_stands_in_is_no_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the folder that you are in"):
        check_out(Path(), NETWORK, force=False)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_mount_point_and_a_place_that_cannot_be_written_are_no_places():
    with pytest.raises(UsageError, match="/proc: a mount point"):
        check_out(Path("/proc"), NETWORK, force=False)
    with pytest.raises(UsageError, match=r"/proc/none: cannot be used \(.*; give another --out"):
        check_out(Path("/proc/none"), NETWORK, force=False)


@pytest.fixture
def shared(tmp_path):
    """Give a folder of somebody whom permissions bind, and be that one: they do not bind root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir=None if root else tmp_path) as folder:
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0 if root else os.geteuid())


@pytest.mark.parametrize("place", ["not/yet", "empty"])
def test_a_folder_without_permission_is_no_place(shared, place):
    (shared / "empty").mkdir()
    shared.chmod(0o500)
    with pytest.raises(UsageError, match=r"cannot be used \(Permission denied\); give another --out"):
        check_out(shared / place, NETWORK, force=False)
    shared.chmod(0o700)


def test_nor_is_one_that_is_read_only_itself(shared):
    (shared / "export").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="export: read-only; make it writable"):
        check_out(shared / "export", NETWORK, force=False)


# What goes wrong in the middle


def test_a_full_disk_leaves_what_was_there(out):
    before = contents(out)
    earlier = check_out(out, NETWORK, force=False)
    with scratch_beside(out) as scratch:
        files = {LITE.file: made(scratch, LITE, "2")}
        with (
            full_disk(),
            pytest.raises(UsageError, match=r"cannot be written \(File too large\); nothing there") as error,
        ):
            deliver(merged(export(LITE), earlier), files, PAGES, out, scratch, force=False)
    assert "\n" not in str(error.value)
    assert contents(out) == before
    assert check_out(out, NETWORK, force=False) == earlier
    assert [path.name for path in out.parent.iterdir()] == ["export"]


AGAIN = """
import sys
from pathlib import Path
from itertools import count
from drawn_export import export, row
from facectl_export.bundle import deliver
from facectl_runtime.files import scratch_beside
out = Path(sys.argv[1])
for number in count():
    with scratch_beside(out) as scratch:
        (scratch / "zoo.onnx").write_text(str(number) * 1000)
        (scratch / "zoo.tflite").write_text(str(number) * 1000)
        files = {name: scratch / name for name in ("zoo.onnx", "zoo.tflite")}
        deliver(export(row(), row("tflite"), seconds=float(number)), files, {}, out, scratch, force=False)
    print("done", flush=True)
"""


def test_killed_in_the_middle_the_old_export_or_the_new_one_stands_whole(tmp_path):
    out, paths = tmp_path / "export", os.pathsep.join(sys.path)
    for moment in range(5):
        environment = {**os.environ, "PYTHONPATH": paths}
        with subprocess.Popen([sys.executable, "-c", AGAIN, out], stdout=subprocess.PIPE, env=environment) as child:
            for _ in range(1 + 2 * moment):
                assert child.stdout.readline() == b"done\n"
            child.kill()
        found = check_out(out, NETWORK, force=False)  # every checksum is right
        assert [one.file for one in found.files] == ["zoo.onnx", "zoo.tflite"]


# Zipped


def test_the_zipped_size_is_that_of_a_zip_file(tmp_path):
    path = tmp_path / "zoo.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(50_000) + bytes(50_000))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.write(path, path.name)
    assert abs(zipped_size(path) - len(archive.getvalue())) < 100
    assert 50_000 < zipped_size(path) < 51_000


def test_a_core_ml_folder_is_zipped_whole_and_nothing_is_left(tmp_path):
    package = made(tmp_path, CORE, "0" * 100_000)
    (package / "Data" / "weights" / "noise.bin").write_bytes(np.random.default_rng(0).bytes(30_000))
    assert bundle.size(package) == 130_002
    assert 30_000 < zipped_size(package) < 32_000
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.fp16.mlpackage"]
