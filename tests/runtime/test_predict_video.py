"""`facectl predict` on videos: a row a frame, in every format and from every kind of word."""

import csv
import errno
import io
import json
import os
import re
import sys
import threading

import pytest

from bad_images import BAD
from clips import cut, numbered, write_clip
from facectl_runtime import reading, save
from facectl_runtime.devices import usable_cores
from facectl_runtime.video import clip
from helpers import rows, stdin

WHEEL = ("red", "green", "blue")


@pytest.fixture
def film(tmp_path):
    """Make three seconds of video, red, green and blue for a second each."""
    return write_clip(tmp_path / "film.mp4", numbered(90, hold=30), gop=15)


def test_every_frame_is_answered_in_its_order(model, film, facectl):
    ran = facectl("predict", model, film, "--json")
    assert ran.code == 0
    assert [row["frame"] for row in rows(ran)] == list(range(90))
    assert [row["time"] for row in rows(ran)] == pytest.approx([number / 30 for number in range(90)], abs=0.001)
    assert [row["label"] for row in rows(ran)] == [WHEEL[number // 30] for number in range(90)]
    assert {row["source"] for row in rows(ran)} == {str(film)}
    assert not {"at", "age", "error"} & set(rows(ran)[0])
    assert "streams" not in ran.json()
    assert re.fullmatch(r"90 frames, [\d.]+ s, onnxruntime [\d.]+ on cpu \(asked for: auto\)\n", ran.err)


def test_the_formats_agree(model, film, facectl):
    words = ["predict", model, film, "--every", "0.5s", "--topk", 2]
    expected = rows(facectl(*words, "--json"))
    lines = [json.loads(line) for line in facectl(*words, "--jsonl").out.splitlines()]
    assert [{key: line[key] for key in expected[0]} for line in lines] == expected
    table = list(csv.DictReader(io.StringIO(facectl(*words, "--csv").out)))
    assert [(row["source"], int(row["frame"]), float(row["time"]), row["label"]) for row in table] == [
        (row["source"], row["frame"], row["time"], row["label"]) for row in expected
    ]
    text = facectl(*words).out.splitlines()
    assert [line.split()[1] for line in text] == [row["label"] for row in expected]
    assert [line.split()[-1] for line in text] == [f"0:0{n // 2}.{n % 2 * 5}00" for n in range(6)]


def test_start_end_and_every(model, film, facectl):
    ran = facectl("predict", model, film, "--start", "0:01.5", "--end", "2.5s", "--every", "500ms", "--json")
    assert [(row["time"], row["label"]) for row in rows(ran)] == [(1.5, "green"), (2.0, "blue")]
    assert "frame" not in rows(ran)[0]
    assert [row["frame"] for row in rows(facectl("predict", model, film, "--every", "40", "--json"))] == [0, 40, 80]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--every", "often"], "--every 'often' is not known"),
        (["--start", "late"], "--start 'late' is not a time"),
        (["--end", "1", "--start", "2"], "--end 1 is not after --start 2"),
        (["--timeout", "5"], "--timeout '5' is not a time"),
        (["--retries", "-1"], "--retries"),
        (["--retries", "3"], "--retries does nothing without a camera or a stream"),
        (["--timeout", "3s"], "--timeout does nothing without a camera or a stream"),
        (["--save-label", "red"], "--save-label does nothing without --save DIR"),
        (["--save-most", "3"], "--save-most does nothing without --save DIR"),
        (["--save-bytes", "3MB"], "--save-bytes does nothing without --save DIR"),
        (["--force"], "--force does nothing without --draw OUT"),
    ],
)
def test_what_is_typed_wrong_is_said(model, film, facectl, words, said):
    ran = facectl("predict", model, film, *words)
    assert ran.code == 2
    assert said in ran.error()


def test_a_word_too_many_leaves_nothing_behind(model, film, facectl, tmp_path):
    kept, drawn = tmp_path / "new/kept", tmp_path / "new/drawn"
    for words in (["--retries", 3], [0], ["--start", "late"]):
        assert facectl("predict", model, film, "--save", kept, "--draw", drawn, *words).code == 2
    assert facectl("predict", model, "rtsp://cam/1", "--save", kept, "--exclude", "x").code == 2
    (there := tmp_path / "there.jpg").touch()
    assert facectl("predict", model, film, "--save", kept, "--draw", there).code == 2
    assert facectl("predict", model, film, "--save", kept, "--save-bytes", "").code == 2
    assert not (tmp_path / "new").exists()


def test_one_drawing_of_several_is_refused_before_any_row(model, film, facectl, tmp_path):
    out = tmp_path / "out.mp4"
    for sources in ([film, film], [tmp_path]):
        ran = facectl("predict", model, *sources, "--draw", out)
        assert (ran.code, ran.out) == (2, "")
        assert "there may be several; give a folder" in ran.error()
    assert not out.exists()


def test_what_was_not_drawn_is_not_said_to_be(model, film, facectl, tmp_path):
    out = tmp_path / "out.mp4"
    (tmp_path / "empty.mp4").touch()
    ran = facectl("predict", model, tmp_path / "empty.mp4", "--draw", out)
    assert ran.code == 3
    assert ran.err.splitlines()[-1] == f"nothing was drawn into {out}"
    ran = facectl("predict", model, film, "--draw", out)
    assert ran.err.splitlines()[-1] == f"drawn: {out}"


def test_pictures_that_cannot_be_kept_are_said_and_change_the_exit_code(model, film, facectl, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(save, "_name", full)
    ran = facectl("predict", model, film, "--every", 30, "--save", tmp_path / "kept", "--quiet")
    assert ran.code == 1
    first, last = ran.err.splitlines()
    assert "cannot be written (No space left on device); answers go on" in first
    assert last == f"facectl: --save {tmp_path / 'kept'}: 3 pictures could not be written"


def test_a_model_that_may_not_be_read_is_no_usage_error(model, film, facectl, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert facectl("predict", model, film, "--quiet").code == 0  # it was read; the system has the last word


def test_on_change_gives_the_first_of_each_run(model, film, facectl):
    ran = facectl("predict", model, film, "--on-change", "--json")
    assert [(row["frame"], row["label"]) for row in rows(ran)] == [(0, "red"), (30, "green"), (60, "blue")]
    assert ran.err.startswith("90 frames")


def test_videos_and_images_are_answered_in_the_order_given(model, film, paint, facectl, tmp_path):
    other = write_clip(tmp_path / "other.mkv", ["blue"] * 2)
    ran = facectl("predict", model, paint("a.png", "green"), other, film, paint("b.png"), "--every", "45", "--json")
    assert [row["source"].rpartition("/")[2] for row in rows(ran)] == [
        "a.png",
        "other.mkv",
        "film.mp4",
        "film.mp4",
        "b.png",
    ]
    assert [row["label"] for row in rows(ran)] == ["green", "blue", "red", "green", "red"]
    assert ran.err.startswith("2 images, 3 frames, ")


def test_folders_give_no_videos_and_patterns_and_lists_do(model, film, paint, facectl, monkeypatch):
    paint("a.png", "green")
    words = ["predict", model, "--every", "1s", "--json"]
    everything = ["green", *WHEEL]
    assert [row["label"] for row in rows(facectl(*words, film.parent))] == ["green"]
    assert [row["label"] for row in rows(facectl(*words, film.parent / "*.*"))] == everything
    assert [row["label"] for row in rows(facectl(*words, film.parent / "*.*", "--exclude", "*.mp4"))] == ["green"]
    for separator in ("\n", "\0"):
        stdin(monkeypatch, separator.join([str(film.with_name("a.png")), str(film)]).encode())
        assert [row["label"] for row in rows(facectl(*words, "-"))] == everything


ODD = [
    "a:b.mp4",
    "two words.mp4",
    "Bär 日本.MP4",
    "http:x.mov",
    "%d.mp4",
    "a\nb.mp4",
    "0.mp4",
    "pipe:0.mkv",
    "-a.mp4",
    "#1.ts",
]


@pytest.mark.parametrize("name", [*ODD, os.fsdecode(b"\xff.mp4")])
def test_odd_names(model, tmp_path, facectl, monkeypatch, name):
    """A reader of addresses would take some of them for something else."""
    write_clip(tmp_path / "x.mp4", ["blue"] * 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    shown = os.fsencode(name).decode("utf-8", "replace")
    ran = facectl("predict", "--json", model, "--", name)
    assert ran.code == 0
    assert [(row["source"], row["label"]) for row in rows(ran)] == [(shown, "blue")] * 2
    assert facectl("predict", model, "--", name).out.count("\n") == 2


# What cannot be read


def bad_videos(folder):
    cut(write_clip(folder / "cut.mp4", numbered(90), options={"movflags": "faststart"}), 0.6)
    cut(write_clip(folder / "headless.mp4", numbered(30)), 0.6)
    (folder / "text.mp4").write_text("just a text\n")
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    return {
        "cut.mp4": "breaks off at",
        "headless.mp4": "not a video that facectl reads",
        "text.mp4": "not a video that facectl reads",
        "empty.mp4": "is empty",
        "list.mp4": "not a video that facectl reads",
        "missing.mp4": "No such file",
    }


@pytest.mark.parametrize("through", ["files", "pattern", "list"])
def test_bad_videos_have_a_row_and_the_others_are_answered(model, tmp_path, paint, facectl, monkeypatch, through):
    said = bad_videos(tmp_path)
    first, last = paint("a.png", "green"), write_clip(tmp_path / "z.mp4", ["blue"])
    names = [first, *[tmp_path / name for name in sorted(said)], last]
    if through == "pattern":
        del said["missing.mp4"]
        names = [tmp_path / "*.*"]
    elif through == "list":
        stdin(monkeypatch, "\n".join(map(str, names)).encode())
        names = ["-"]
    ran = facectl("predict", model, *names, "--json", "--every", "1s")
    assert ran.code == 3
    found = {row["source"].rpartition("/")[2]: row["error"] for row in rows(ran) if "error" in row}
    assert set(found) == set(said)
    for name, error in found.items():
        assert said[name] in error
    assert (rows(ran)[0]["label"], rows(ran)[-1]["label"]) == ("green", "blue")
    assert f"{len(said)} could not be read" in ran.err
    assert sum(row["source"].endswith("cut.mp4") for row in rows(ran)) == 3  # at 0 s and 1 s, and the error
    assert "Traceback" not in ran.err


def test_bad_images_through_every_kind_of_word(model, tmp_path, facectl, monkeypatch):
    """Every file that is refused says the same wherever its name comes from."""
    for name, (data, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    paths = sorted(map(str, tmp_path.iterdir()))
    said = []
    for words in (paths, [tmp_path], [tmp_path / "*"], ["-"]):
        stdin(monkeypatch, "\n".join(paths).encode())
        ran = facectl("predict", model, *words, "--json")
        assert ran.code == 3
        said.append([(row["source"], row["error"]) for row in rows(ran)])
    assert said[0] == said[1] == said[2] == said[3]
    for source, error in said[0]:
        assert BAD[source.rpartition("/")[2]][1] in error


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][0] and name != "text.jpg"])
def test_a_bad_image_on_stdin_says_the_same(model, facectl, monkeypatch, name):
    data, said = BAD[name]
    stdin(monkeypatch, data)
    ran = facectl("predict", model, "-", "--json")
    assert ran.code == 3
    ((row),) = rows(ran)
    assert said in row["error"]


def test_a_folder_named_as_a_video_is_a_folder(model, tmp_path, paint, facectl):
    paint("x.mp4/a.png", "blue")
    assert [row["label"] for row in rows(facectl("predict", model, tmp_path / "x.mp4", "--json"))] == ["blue"]
    (tmp_path / "y.mp4").mkdir()
    ran = facectl("predict", model, tmp_path / "y.mp4", "--json")
    assert ran.code == 3
    assert "no images in this folder" in rows(ran)[0]["error"]


def test_a_name_too_long_is_a_row(model, facectl):
    ran = facectl("predict", model, "x" * 300 + ".mp4", "--json")
    assert ran.code == 3
    assert os.strerror(errno.ENAMETOOLONG) in rows(ran)[0]["error"]


def test_without_pyav_the_extra_is_named(model, film, facectl, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    ran = facectl("predict", model, film)
    assert ran.code == 2
    assert ran.error() == f"{film}: a video needs PyAV; install it with: pip install 'facectl[camera]'"


def test_a_long_video_is_held_in_part_only(model, tmp_path, facectl, monkeypatch):
    """Frames that are decoded and not yet written are counted, with all who work on them at their own pace."""
    path = write_clip(tmp_path / "v.mp4", numbered(60) * 10)
    lock, held, most = threading.Lock(), 0, 0

    class Counted:
        def __init__(self, function, frame):
            nonlocal held, most
            self.call = lambda: function(frame)
            with lock:
                held += 1
                most = max(most, held)

        def __call__(self):
            return self.call()

        def __del__(self):
            nonlocal held
            with lock:
                held -= 1

    monkeypatch.setattr(clip, "partial", Counted)
    ran = facectl("predict", model, path, "--csv")
    assert ran.out.count("\n") == 601
    lanes = 3 * reading.BATCH
    assert 1 < most <= reading._AHEAD + 2 * usable_cores() + lanes + 4  # of the decoder and the loops, one each
