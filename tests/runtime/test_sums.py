"""`SHA256SUMS` of an export's folder, as `sha256sum` writes and checks it."""

import hashlib
import shutil
import subprocess

import pytest

from facectl_runtime.sums import SUMS, read_sums, renew, written

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()


@pytest.fixture
def folder(tmp_path):
    """Make two models, a file and a folder, and another file, all of them with their sums."""
    (tmp_path / "a.onnx").write_text("a")
    (tmp_path / "b.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "b.mlpackage" / "Data" / "b.bin").write_text("b")
    (tmp_path / "b.mlpackage.zip").write_text("b")
    write(tmp_path, {"a.onnx": A, "b.mlpackage/Data/b.bin": B, "b.mlpackage.zip": B})
    return tmp_path


def write(folder, sums):
    (folder / SUMS).write_text(written(sums))


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_what_is_written_is_what_sha256sum_checks_and_writes(folder):
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=folder).returncode == 0
    names = sorted(read_sums(folder / SUMS))
    assert subprocess.check_output(["sha256sum", *names], cwd=folder, text=True) == (folder / SUMS).read_text()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (f"{A}  a b.onnx\n", {"a b.onnx": A}),
        (f"{A} *a.onnx\n{B}  b.onnx", {"a.onnx": A, "b.onnx": B}),
        (f"{A}  日本.onnx\n", {"日本.onnx": A}),
        (f"{A}  a.onnx\nnothing\n", None),
        (f"{A.upper()}  a.onnx\n", None),
        (f"{A[:-1]}  a.onnx\n", None),
        (f"{A}  a.onnx\n\n", None),
    ],
)
def test_reading(tmp_path, text, found):
    (tmp_path / SUMS).write_text(text)
    assert read_sums(tmp_path / SUMS) == found


def test_what_is_no_such_file(tmp_path):
    assert read_sums(tmp_path / SUMS) is None
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert read_sums(tmp_path / "bytes") is None
    assert read_sums(tmp_path) is None


@pytest.mark.parametrize("sums", [None, {}, {"b.onnx": B}, {"a.onnx.zip": A}])
def test_a_model_that_is_not_named_stays_so(folder, sums):
    (folder / SUMS).unlink()
    if sums is not None:
        write(folder, sums)
    renew(folder / "a.onnx")
    assert read_sums(folder / SUMS) == sums


def test_what_has_changed_is_renewed_and_others_are_left_as_they_are(folder):
    (folder / "a.onnx").write_text("b")
    (folder / "b.mlpackage.zip").write_text("damaged")
    renew(folder / "a.onnx")
    assert read_sums(folder / SUMS) == {"a.onnx": B, "b.mlpackage/Data/b.bin": B, "b.mlpackage.zip": B}
    (folder / "b.mlpackage" / "Data" / "b.bin").write_text("a")
    renew(folder / "b.mlpackage")
    assert read_sums(folder / SUMS) == {"a.onnx": B, "b.mlpackage/Data/b.bin": A, "b.mlpackage.zip": B}
    assert sorted(path.name for path in folder.iterdir()) == [SUMS, "a.onnx", "b.mlpackage", "b.mlpackage.zip"]


def test_a_model_in_the_folder_that_one_is_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "a.onnx").write_text("b")
    renew(folder.joinpath("a.onnx").relative_to(folder))
    assert read_sums(folder / SUMS)["a.onnx"] == B
