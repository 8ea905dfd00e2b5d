"""The command line as a person meets it: exit codes, one line an error, odd names, pipes and interruptions."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import onnx
import pytest
from PIL import Image

from bad_images import BAD, truncated_jpeg
from drawn_run import draw_run
from facectl_runtime import __version__, cli
from facectl_runtime.spec import OutputSpec, encode

PROGRAM = (sys.executable, "-c", "from facectl_runtime.cli import main; main()")


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))


def rows(ran):
    return ran.json()["results"]


def labels(ran):
    return {row["source"]: row.get("label") for row in rows(ran)}


# What is said


def test_one_image(model, paint, facectl):
    path = paint("a.png", "green")
    ran = facectl("predict", model, path)
    assert ran.code == 0
    assert re.fullmatch(r"1 image, [\d.]+ s, onnxruntime [\d.]+ on cpu \(asked for: auto\)\n", ran.err)
    assert ran.out.split() == ["98.8%", "green", str(path)]


def test_a_folder_in_order_with_a_summary_on_stderr(model, classes, facectl):
    ran = facectl("predict", model, classes)
    assert ran.code == 0
    assert [line.split()[-1].removeprefix(f"{classes}/") for line in ran.out.splitlines()] == [
        "blue/1.png", "blue/2.png", "green/1.png", "green/2.png", "red/1.png", "red/2.png"
    ]  # fmt: skip
    assert ran.err.startswith("6 images, ")
    assert ran.err.count("\n") == 1


def test_quiet_leaves_stderr_empty(model, classes, facectl):
    assert facectl("predict", model, classes, "--quiet").err == ""
    assert facectl("predict", model, classes, "missing.png", "-q").err == ""


def test_topk_beyond_the_classes_gives_all_of_them(model, paint, facectl):
    path = paint("a.png", (200, 100, 0))
    (row,) = rows(facectl("predict", model, path, "--topk", 1000, "--json"))
    assert [one["label"] for one in row["top"]] == ["red", "green", "blue"]
    for kind in ("--csv", "--jsonl"):
        ran = facectl("predict", model, path, "--topk", 10**9, kind)
        assert ran.code == 0
        assert len(ran.out) < 1000


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_topk_that_is_no_count_is_a_usage_error(model, paint, facectl, value):
    ran = facectl("predict", model, paint("a.png"), "--topk", value)
    assert ran.code == 2
    assert "--topk" in ran.error()


@pytest.mark.parametrize("pair", [("--json", "--jsonl"), ("--jsonl", "--csv"), ("--csv", "--json")])
def test_formats_exclude_one_another(model, paint, facectl, pair):
    ran = facectl("predict", model, paint("a.png"), *pair)
    assert ran.code == 2
    assert all(option in ran.error() for option in pair)


def test_inspect_shows_the_spec(model, golden, colours, facectl):
    text = facectl("inspect", model)
    assert text.code == 0
    assert "labels    red, green, blue\n" in text.out
    found = facectl("inspect", model, "--json").json()
    expected = msgspec.json.decode(encode(colours.spec(golden=golden)))
    del expected["spec_sha256"]
    for image, shown in zip(golden.images, expected["golden"]["images"], strict=True):
        shown["png"] = f"<{len(image.png)} bytes>"
    assert found == expected


def test_inspect_reads_any_task(embedder, cautious, facectl):
    assert "embedding, 3" in facectl("inspect", embedder).out
    assert "false accepts 1.00%" in facectl("inspect", cautious).out


def test_version_and_help(facectl):
    assert facectl("--version").out == f"facectl {__version__}\n"
    for words in (("--help",), ("-h",), ("predict", "--help"), ("evaluate", "-h")):
        ran = facectl(*words)
        assert ran.code == 0
        assert "Usage: facectl" in ran.out
    assert "SOURCE" in facectl("predict", "--help").out


# What is typed wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pedict"], "predict"),
        (["evalute", "x"], "evaluate"),
        (["verfy"], "verify"),
        (["expotr"], "export"),
        (["predict", "--tpok", "2", "m", "x"], "--topk"),
        (["predict", "--jsn", "m", "x"], "--json"),
        (["--verison"], "--version"),
    ],
)
def test_what_is_misspelt_is_suggested(facectl, words, said):
    ran = facectl(*words)
    assert ran.code == 2
    assert words[0 if words[0] != "predict" else 1] in ran.error()
    assert said in ran.error()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict"], "MODEL"),
        (["predict", "m.onnx"], "SOURCE"),
        (["verify"], "MODEL"),
        (["inspect"], "MODEL"),
        (["inspect", "m.onnx", "more"], "more"),
        (["nothing like it"], "nothing like it"),
        (["two\nlines"], "two\\nlines"),
        (["--data"], "--data"),
    ],
)
def test_what_is_missing_or_too_much_is_named(facectl, words, said):
    ran = facectl(*words)
    assert ran.code == 2
    assert said in ran.error()
    assert "--help" in ran.error()


def test_an_option_without_its_value_is_named(facectl):
    ran = facectl("predict", "m.onnx", "x", "--topk")
    assert ran.code == 2
    assert "--topk" in ran.error()


def test_nothing_at_all_gives_help(facectl):
    ran = facectl()
    assert ran.code == 2
    assert "predict" in ran.out + ran.err
    assert "Traceback" not in ran.err


# Inputs that cannot be read


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_has_a_row_and_the_others_are_answered(model, paint, tmp_path, facectl, name):
    data, said = BAD[name]
    first, last = paint("first.png", "red"), paint("last.png", "blue")
    (tmp_path / name).write_bytes(data)
    ran = facectl("predict", model, first, tmp_path / name, last, "--json")
    assert ran.code == 3
    found = rows(ran)
    assert [row.get("label") for row in found] == ["red", None, "blue"]
    assert said in found[1]["error"]
    table = facectl("predict", model, first, tmp_path / name, last)
    assert table.code == 3
    assert [line.split()[0] for line in table.out.splitlines()] == ["98.8%", "error", "98.8%"]
    assert "1 could not be read" in table.err
    assert "Traceback" not in ran.err + table.err


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_in_an_evaluation_is_named(model, classes, facectl, name):
    data, said = BAD[name]
    (classes / "red" / name).write_bytes(data)
    ran = facectl("evaluate", model, "--data", classes, "--json")
    assert ran.code == 3
    assert said in ran.json()["unreadable"][f"red/{name}"]
    assert ran.json()["n"] == 6


def test_all_of_them_at_once(model, tmp_path, facectl):
    for name, (data, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    ran = facectl("predict", model, tmp_path, "--csv")
    assert ran.code == 3
    assert ran.out.count("\n") == 1 + len(BAD)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("missing.png", "No such file"),
        ("*.xyz", "nothing matches"),
        ("", "not a path"),
        ("x" * 300, os.strerror(errno.ENAMETOOLONG)),
    ],
)
def test_what_is_not_there_has_a_row(model, facectl, word, said):
    ran = facectl("predict", model, word, "--json")
    assert ran.code == 3
    (row,) = rows(ran)
    assert row["source"] == word
    assert said in row["error"]


def test_a_folder_without_images_has_a_row(model, tmp_path, facectl):
    (tmp_path / "notes.txt").touch()
    ran = facectl("predict", model, tmp_path, "--json")
    assert ran.code == 3
    assert "no images" in rows(ran)[0]["error"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(model, tmp_path, facectl):
    os.mkfifo(tmp_path / "pipe.png")
    ran = facectl("predict", model, tmp_path / "pipe.png", "--json")
    assert ran.code == 3


# Names

ODD = [
    "two words.png", "it's.png", 'say "cheese".png', "🦊.png", "Bär.png", "日本.png", "a,b;c.png", "new\nline.png",
    "[1].png", "~.png", "$HOME.png", "%s.png", "back\\slash.png", os.fsdecode(b"\xff\xfe.png"),
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names(model, paint, tmp_path, facectl, name):
    path = paint(f"f/{name}", "blue")
    shown = os.fsencode(path).decode("utf-8", "replace")
    for word in (path, tmp_path / "f", tmp_path / "f" / "*.png"):
        ran = facectl("predict", model, word, "--json")
        assert ran.code == 0
        assert labels(ran) == {shown: "blue"}
        assert facectl("predict", model, word).out.count("\n") == 1


@pytest.mark.parametrize("name", ["-a.png", "--json", "-", "--"])
def test_names_that_begin_with_a_dash(model, paint, tmp_path, monkeypatch, facectl, name):
    monkeypatch.chdir(tmp_path)
    paint("f/x.png", "blue").rename(tmp_path / name)
    if name != "-":
        assert labels(facectl("predict", "--json", model, "--", name)) == {name: "blue"}
    assert list(labels(facectl("predict", "--json", model, f"./{name}")).values()) == ["blue"]
    if name.endswith(".png"):
        for word in (tmp_path, "*.png"):
            assert list(labels(facectl("predict", "--json", model, word)).values()) == ["blue"]


def test_an_argument_that_is_not_utf8(model, paint, spawn, tmp_path):
    paint(os.fsdecode(b"\xff.png"), "blue")
    name = os.fsencode(tmp_path) + b"/\xff.png"
    for kind in ("--json", "--jsonl", "--csv", "--topk=2"):
        ran = spawn("predict", model, name, kind, "-q")
        assert (ran.code, ran.err) == (0, "")
        assert "\ufffd.png" in ran.out
    ran = spawn("predict", model, os.fsencode(tmp_path) + b"/\xfe.png", "--json")
    assert ran.code == 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_name_is_no_reason_to_stop(model, paint, spawn, encoding):
    path = paint("🦊.png", "blue")
    ran = spawn("predict", model, path, paint("a.png"), env={**os.environ, "PYTHONIOENCODING": encoding})
    assert ran.code == 0
    assert "🦊.png" in ran.out
    assert ran.out.count("\n") == 2
    assert spawn("verify", model, env={**os.environ, "PYTHONIOENCODING": encoding}).code == 0


# Models


def test_a_model_that_is_not_there(refuse, tmp_path):
    assert "missing.onnx: no such model" in refuse(tmp_path / "missing.onnx")
    refuse(tmp_path / ("x" * 300 + ".onnx"))


def test_what_is_no_model(refuse, tmp_path, paint):
    assert "a .png file is not a model; use .mlpackage, .onnx" in refuse(paint("photo.png"))
    assert "a folder without a spec.json" in refuse(tmp_path)


def test_a_model_without_a_spec(refuse, colours, tmp_path):
    said = refuse(colours.save(tmp_path / "bare.onnx", None), ["predict", "evaluate", "verify"])
    assert "bare.onnx: it carries no facectl.spec" in said


@pytest.mark.parametrize("make", ["empty", "text", "cut", "folder"])
def test_a_damaged_model(refuse, model, tmp_path, make):
    path = tmp_path / "bad.onnx"
    if make == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": model.read_bytes()[:-100]}[make])
    assert "bad.onnx: " in refuse(path)


def test_damage_in_the_graph_is_found_too(refuse, model, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.read_bytes().replace(b"MatMul", b"MatMxx"))
    assert "bad.onnx: ONNX Runtime cannot load it" in refuse(path, ["predict", "evaluate", "verify"])


def test_a_spec_of_a_later_version(refuse, colours, tmp_path):
    text = encode(colours.spec()).replace('"spec_version":1', '"spec_version":2')
    said = refuse(colours.save(tmp_path / "later.onnx", text))
    assert "version 2" in said
    assert "upgrade" in said


@pytest.mark.parametrize("text", ["", "no JSON", '{"spec_version":1,"a\\nb":0}', "[" * 10**5])
def test_a_spec_that_is_not_valid(refuse, colours, tmp_path, text):
    assert "bad.onnx: " in refuse(colours.save(tmp_path / "bad.onnx", text))


def test_a_spec_that_was_edited(refuse, colours, proven, facectl, edit, tmp_path):
    path = colours.save(tmp_path / "edited.onnx", proven)
    assert facectl("verify", path).code == 0
    edit(path)
    assert "edited.onnx: its facectl spec was changed after it was written" in refuse(path)


def test_a_spec_of_a_run_that_was_edited(refuse, facectl, edit, proven, tmp_path):
    run = draw_run(tmp_path / "run", tmp_path / "photographs", ["cat", "dog"], each=1)
    (run / "spec.json").write_text(encode(proven))
    assert facectl("inspect", run).code == 0
    edit(run / "spec.json")
    said = refuse(run, ["predict", "evaluate", "verify", "inspect", "export"])
    assert f"{run / 'spec.json'}: its facectl spec was changed after it was written" in said


def test_a_name_of_two_lines_is_still_one_line(refuse, tmp_path):
    assert "a\\nb.onnx" in refuse(tmp_path / "a\nb.onnx")


def graphs(colours):
    return {
        "labels": colours.graph(classes=2),
        "sides": colours.graph(width=8, height=12),
        "float": colours.graph(pixels=onnx.TensorProto.FLOAT),
    }


@pytest.mark.parametrize("kind", ["labels", "sides", "float"])
def test_a_graph_that_its_spec_does_not_describe(refuse, colours, golden, tmp_path, kind):
    path = colours.save(tmp_path / "other.onnx", colours.spec(golden=golden), graphs(colours)[kind])
    said = refuse(path, ["predict", "evaluate", "verify"])
    assert "other.onnx: its graph takes" in said
    assert "export the model again" in said


def test_a_model_with_labels_too_many(refuse, colours, tmp_path):
    spec = colours.spec(labels=("red", "green", "blue", "black"), output=OutputSpec("probabilities", 4))
    refuse(colours.save(tmp_path / "other.onnx", spec), ["predict", "evaluate"])


def test_an_embedder_cannot_predict(embedder, refuse):
    assert "facectl faces takes those that embed" in refuse(embedder, ["predict"])


def test_a_model_whose_name_is_not_utf8(model, paint, facectl, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.onnx")
    path.write_bytes(model.read_bytes())
    ran = facectl("predict", path, paint("a.png"), "--json")
    assert ran.code == 0
    assert ran.json()["model"] == f"{tmp_path}/\ufffd.onnx"
    assert facectl("verify", path).code == facectl("verify", path, "--json").code == 0


# Standard input


def test_a_list_on_stdin(model, paint, monkeypatch, facectl):
    paths = [paint("two words.png", "red"), paint("Bär.png", "green"), paint("c.png", "blue")]
    for separator in ("\n", "\r\n", "\0"):
        stdin(monkeypatch, separator.join(map(str, [*paths, ""])).encode())
        assert list(labels(facectl("predict", model, "-", "--json")).values()) == ["red", "green", "blue"]


def test_a_list_with_a_missing_file(model, paint, monkeypatch, facectl):
    stdin(monkeypatch, f"{paint('a.png')}\nmissing.png\n".encode())
    ran = facectl("predict", model, "-", "--json")
    assert ran.code == 3
    assert [("error" in row) for row in rows(ran)] == [False, True]


def test_an_image_on_stdin(model, colours, spawn):
    ran = spawn("predict", model, "-", "--json", "--quiet", stdin=colours.png("green"))
    assert (ran.code, ran.err) == (0, "")
    assert labels(ran) == {"-": "green"}


def test_a_damaged_image_on_stdin(model, spawn):
    ran = spawn("predict", model, "-", "--json", stdin=truncated_jpeg())
    assert ran.code == 3
    assert "damaged" in rows(ran)[0]["error"]


def test_nothing_on_stdin_is_no_row_and_no_error(model, spawn):
    ran = spawn("predict", model, "-", "--json", stdin=b"")
    assert ran.code == 0
    assert rows(ran) == []


def test_nothing_is_left_on_the_disk(model, colours, spawn, tmp_path):
    """ONNX Runtime would leave a file in TMPDIR and an identifier in the cache where its telemetry is on."""
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ran = spawn("predict", model, "-", stdin=colours.png("green"), cwd=tmp_path, env={**environment, **places})
    assert ran.code == 0
    assert list(tmp_path.iterdir()) == []


def test_what_libraries_left_for_the_end_is_done(tmp_path):
    """TensorFlow removes its temporary files only then."""
    left = tmp_path / "left.py"
    left.touch()
    words = "import atexit, pathlib, sys; atexit.register(pathlib.Path(sys.argv.pop()).unlink)"
    code = f"{words}; from facectl_runtime.cli import main; main()"
    assert subprocess.run([sys.executable, "-c", code, "--version", left], stdout=subprocess.DEVNULL).returncode == 0
    assert not left.exists()


# Processes


@pytest.fixture
def many(tmp_path) -> Path:
    """Make a folder of hundreds of images that take a while each: the same large one under many names."""
    folder = tmp_path / "many"
    folder.mkdir()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(folder / "000.png")
    for number in range(1, 400):
        os.link(folder / "000.png", folder / f"{number:03}.png")
    return folder


posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@posix
@pytest.mark.parametrize("kind", [[], ["--jsonl"], ["--csv"], ["--json"]], ids=["table", "jsonl", "csv", "json"])
def test_a_reader_that_has_had_enough_ends_it_quietly(model, many, kind):
    process = subprocess.Popen(
        [*PROGRAM, "predict", str(model), str(many), *kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline()
    process.stdout.close()
    started = time.monotonic()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0
    if kind != ["--json"]:  # a document is written by the block, and learns of it later
        assert time.monotonic() - started < 5


@posix
@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["--version"], ["inspect", "MODEL"]])
def test_a_reader_that_reads_nothing_ends_it_quietly(model, words):
    read, write = os.pipe()
    os.close(read)
    words = [str(model) if word == "MODEL" else word for word in words]
    ran = subprocess.run([*PROGRAM, *words], stdout=write, stderr=subprocess.PIPE, timeout=30)
    os.close(write)
    assert ran.stderr == b""
    assert ran.returncode in (0, 1)  # typer gives 1 where its own help was not read


# `evaluate` says nothing before its end: this says when it has begun.
EVALUATE = """
import facectl_runtime.evaluate as module
from facectl_runtime.cli import main
begin = module.answer_labelled
module.answer_labelled = lambda *arguments: print("begun", flush=True) or begin(*arguments)
main()
"""


@posix
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_interruption_ends_it_with_one_line(model, many, command):
    if command == "predict":
        words = [*PROGRAM, "predict", model, many]
    else:
        many.rename(many.with_name("red"))
        words = [sys.executable, "-c", EVALUATE, "evaluate", model, "--data", many.parent]
    process = subprocess.Popen(
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        # Handling of SIGINT is inherited, and a shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "facectl: interrupted"
    assert "Traceback" not in err.decode()
    assert time.monotonic() - started < 5


def test_a_second_interruption_while_the_first_is_said(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(cli, "run", interrupted)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "set_threshold", lambda _: None)
    monkeypatch.setattr(cli.atexit, "_run_exitfuncs", lambda: None)
    monkeypatch.setattr(cli.os, "_exit", ended.append)
    cli.main()
    assert ended == [130]


@posix
def test_a_closed_stdout_is_no_traceback(model, paint):
    path = paint("a.png")
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "predict", str(model), str(path), "-q"],
        capture_output=True,
        timeout=30,
    )
    assert ran.stderr == b""
    assert ran.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("kind", ["--json", "--csv", "--topk=1"])
def test_a_full_disk_is_one_line_and_no_success(model, paint, kind):
    path = paint("a.png")
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*PROGRAM, "predict", str(model), str(path), kind], stdout=full, stderr=subprocess.PIPE, timeout=30
        )
    assert ran.returncode not in (0, 3)
    assert ran.stderr.decode().count("\n") == 1
    assert "No space left" in ran.stderr.decode()
