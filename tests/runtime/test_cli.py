"""The command line as a person meets it: what is said, and what is typed wrong."""

import re

import msgspec
import pytest

from facectl_runtime import __version__
from facectl_runtime.spec import encode
from helpers import rows

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
