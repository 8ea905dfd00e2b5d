"""What answers look like on stdout, for people and for programs."""

import csv
import io

import msgspec
import pytest

from facectl_runtime.classifier import Ranked, Row
from facectl_runtime.engines import Engine
from facectl_runtime.errors import one_line
from facectl_runtime.output import FORMATS, About, columns

ODD_NAMES = [
    "two words.png",
    'a "quoted", b.png',
    "it's.png",
    "a\nb\r\tc.png",
    "🦊 日本.png",
    "\ufffd.png",
    "\x1b[31mred.png",
]
COMMON = {"model": "zoo, 1.onnx", "engine": "test 1", "device": "cpu", "device_requested": "auto"}


def answer(source, *ranked):
    top = tuple(Ranked(*pair) for pair in ranked)
    return Row(source, top[0].label, top[0].probability, top)


ROWS = [
    answer("a.png", ("red", 0.9), ("green", 0.08)),
    Row("b.png", error='is not an image: it begins with b"x"'),
    Row("c.png", "unknown", 0.4, (Ranked("blue", 0.4), Ranked("red", 0.3))),
]


@pytest.fixture
def about(colours):
    return About("zoo, 1.onnx", colours.spec(), Engine("test 1", "cpu", lambda _: None), "auto", 2)


def written(kind, rows, about):
    out = io.StringIO()
    FORMATS[kind](iter(rows), about, out)
    return out.getvalue()


def test_json_is_one_document(about):
    document = msgspec.json.decode(written("json", ROWS, about))
    assert document == {
        **COMMON,
        "results": [
            {
                "source": "a.png",
                "label": "red",
                "probability": 0.9,
                "top": [{"label": "red", "probability": 0.9}, {"label": "green", "probability": 0.08}],
            },
            {"source": "b.png", "error": 'is not an image: it begins with b"x"'},
            {
                "source": "c.png",
                "label": "unknown",
                "probability": 0.4,
                "top": [{"label": "blue", "probability": 0.4}, {"label": "red", "probability": 0.3}],
            },
        ],
    }


def test_json_of_nothing_is_a_document_too(about):
    assert msgspec.json.decode(written("json", [], about)) == {**COMMON, "results": []}


def test_jsonl_is_an_object_a_line_that_stands_alone(about):
    lines = written("jsonl", ROWS, about).splitlines()
    results = msgspec.json.decode(written("json", ROWS, about))["results"]
    for line, result in zip(lines, results, strict=True):
        found = msgspec.json.decode(line)
        assert found == found | COMMON | result


def test_csv_has_a_header_and_rows_of_its_width(about):
    header, *rows = csv.reader(io.StringIO(written("csv", ROWS, about)))
    assert header == ["source", "label", "probability", "label_2", "probability_2", "error", *COMMON]
    assert rows == [
        ["a.png", "red", "0.9", "green", "0.08", "", *COMMON.values()],
        ["b.png", "", "", "", "", 'is not an image: it begins with b"x"', *COMMON.values()],
        ["c.png", "unknown", "0.4", "red", "0.3", "", *COMMON.values()],
    ]


def test_csv_has_no_more_columns_than_the_model_has_labels(about):
    many = About(about.model, about.spec, about.engine, "auto", 10**9)
    top = [("red", 0.5), ("green", 0.3), ("blue", 0.2)]
    header, row = csv.reader(io.StringIO(written("csv", [answer("a.png", *top)], many)))
    assert header[:8] == [
        "source",
        "label",
        "probability",
        "label_2",
        "probability_2",
        "label_3",
        "probability_3",
        "error",
    ]
    assert len(row) == len(header)


def test_a_table_has_a_line_an_image_with_its_columns_aligned(about):
    lines = written("table", ROWS, about).splitlines()
    assert [line.split() for line in lines] == [
        ["90.0%", "red", "8.0%", "green", "a.png"],
        ["error", "b.png:", *["is", "not", "an", "image:", "it", "begins", "with", 'b"x"']],
        ["40.0%", "unknown", "30.0%", "red", "c.png"],
    ]
    assert lines[0].index("a.png") == lines[2].index("c.png")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_survives_the_formats_for_programs(about, name):
    rows = [answer(name, ("red", 0.9)), Row(name, error="is damaged")]
    document = msgspec.json.decode(written("json", rows, about))
    assert [row["source"] for row in document["results"]] == [name, name]
    lines = written("jsonl", rows, about).split("\n")
    assert lines.pop() == ""
    assert [msgspec.json.decode(line)["source"] for line in lines] == [name, name]
    table = csv.reader(io.StringIO(written("csv", rows, about), newline=""))
    assert [row[0] for row in table] == ["source", name, name]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_one_line_in_the_table(about, name):
    text = written("table", [answer(name, ("red", 0.9)), Row(name, error="is damaged")], about)
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    assert all(one_line(name) in line for line in text.splitlines())


def test_control_characters_are_shown_and_letters_are_left():
    assert one_line("a\nb\x1b[0m\x00\u202e\udcff") == "a\\nb\\x1b[0m\\x00\\u202e\\udcff"
    assert one_line("Bär 🦊 日本 é") == "Bär 🦊 日本 é"


@pytest.mark.parametrize("kind", ["table", "jsonl", "csv"])
def test_a_row_is_written_before_the_next_is_asked_for(about, kind):
    out = io.StringIO()

    def rows():
        yield ROWS[0]
        assert "a.png" in out.getvalue()
        yield ROWS[1]

    FORMATS[kind](rows(), about, out)
    assert "b.png" in out.getvalue()


def test_columns_are_aligned_and_lines_have_no_blanks_at_their_ends():
    assert columns([("a", "1", "x"), ("bbb", "22", "")], right=(1,)) == "a     1  x\nbbb  22"
