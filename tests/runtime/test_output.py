"""What answers look like on stdout, for people and for programs."""

import csv
import io

import msgspec
import pytest
from msgspec.structs import replace

from facectl_runtime.engines import Engine
from facectl_runtime.errors import one_line
from facectl_runtime.output import FORMATS, About, changes, clock, columns
from facectl_runtime.rows import Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.video.live import Live
from facectl_runtime.video.selection import ALL

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


def answer(source, *ranked, **where):
    top = tuple(Ranked(*pair) for pair in ranked)
    return Row(source, label=top[0].label, probability=top[0].probability, top=top, **where)


ROWS = [
    answer("a.png", ("red", 0.9), ("green", 0.08)),
    Row("b.png", error='is not an image: it begins with b"x"'),
    Row("c.png", label="unknown", probability=0.4, top=(Ranked("blue", 0.4), Ranked("red", 0.3))),
]
FRAMES = [
    answer("v.mp4", ("red", 0.9), frame=0, time=0.0),
    answer("v.mp4", ("blue", 0.8), time=3723.5),
    answer("rtsp://cam/1", ("green", 0.7), frame=41, at="2026-01-02T03:04:05.678Z", age=0.0421),
    Row("v.mp4", error="breaks off at 1.0 s of 2.0 s"),
]


@pytest.fixture
def about(colours):
    return About("zoo, 1.onnx", colours.spec().labels, Engine("test 1", "cpu", lambda _: None), "auto", 2)


def written(kind, rows, about):
    out = io.StringIO()
    FORMATS[kind](iter(rows), about, out)
    return out.getvalue()


def test_json_can_be_read_whatever_ends_it(about):
    def rows():
        yield ROWS[0]
        raise ZeroDivisionError

    out = io.StringIO()
    with pytest.raises(ZeroDivisionError):
        FORMATS["json"](rows(), about, out)
    assert len(msgspec.json.decode(out.getvalue())["results"]) == 1


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
    k_columns = ["label_2", "probability_2"]
    assert header == ["source", "frame", "time", "at", "label", "probability", *k_columns, "age", "error", *COMMON]
    assert rows == [
        ["a.png", "", "", "", "red", "0.9", "green", "0.08", "", "", *COMMON.values()],
        ["b.png", *[""] * 8, 'is not an image: it begins with b"x"', *COMMON.values()],
        ["c.png", "", "", "", "unknown", "0.4", "blue", "0.4", "", "", *COMMON.values()],
    ]


def test_frames_say_which_they_are_and_when(about):
    one, later, live, error = msgspec.json.decode(written("json", FRAMES, about))["results"]
    assert (one["frame"], one["time"]) == (0, 0.0)
    assert "frame" not in later
    assert later["time"] == 3723.5
    assert (live["frame"], live["at"], live["age"]) == (41, "2026-01-02T03:04:05.678Z", 0.0421)
    assert error == {"source": "v.mp4", "error": "breaks off at 1.0 s of 2.0 s"}
    found = csv.DictReader(io.StringIO(written("csv", FRAMES, about)))
    assert [(row["frame"], row["time"], row["at"], row["age"]) for row in found] == [
        ("0", "0.0", "", ""),
        ("", "3723.5", "", ""),
        ("41", "", "2026-01-02T03:04:05.678Z", "0.0421"),
        ("", "", "", ""),
    ]
    assert [line.split()[2:] for line in written("table", FRAMES, about).splitlines()[:3]] == [
        ["v.mp4", "0:00.000"],
        ["v.mp4", "1:02:03.500"],
        ["rtsp://cam/1", "03:04:05.678", "42", "ms"],
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0:00.000"), (0.0334, "0:00.033"), (59.9996, "1:00.000"), (3599.9999, "1:00:00.000"), (36000, "10:00:00.000")],
)
def test_times_are_rounded_as_a_whole(seconds, said):
    assert clock(seconds) == said


def test_json_ends_with_the_counts_of_live_sources(about):
    live = Live("cam", lambda: None, selection=ALL)
    live.seen = 5
    for age in (0.3, 0.1, 0.2):
        live.has_answered(age)
    about = replace(about, streams=[live])
    assert msgspec.json.decode(written("json", [], about))["streams"] == [
        {
            "source": "cam",
            "seen": 5,
            "answered": 3,
            "dropped": 2,
            "reconnected": 0,
            "age_median": 0.2,
            "age_p95": 0.3,
        }
    ]


def test_changes_passes_on_what_is_new_of_each_source_and_every_error():
    words = ["a red", "b red", "a red", "a blue", "b red", "a error", "a blue", "a error", "a red", "b blue"]
    answered = []
    for number, (source, label) in enumerate(word.split() for word in words):
        row = (
            Row(source, frame=number, error="lost") if label == "error" else answer(source, (label, 0.9), frame=number)
        )
        answered.append((Source(source, b""), row))
    assert [row.frame for _, row in changes(answered)] == [0, 1, 3, 5, 7, 8, 9]


def test_csv_has_no_more_columns_than_the_model_has_labels(about):
    many = About(about.model, about.labels, about.engine, "auto", 10**9)
    top = [("red", 0.5), ("green", 0.3), ("blue", 0.2)]
    header, row = csv.reader(io.StringIO(written("csv", [answer("a.png", *top)], many)))
    ranked = ["label", "probability", "label_2", "probability_2", "label_3", "probability_3"]
    assert header[:12] == ["source", "frame", "time", "at", *ranked, "age", "error"]
    assert len(row) == len(header)


def test_a_table_has_a_line_an_image_with_its_columns_aligned(about):
    lines = written("table", ROWS, about).splitlines()
    assert [line.split() for line in lines] == [
        ["90.0%", "red", "8.0%", "green", "a.png"],
        ["error", "b.png:", *["is", "not", "an", "image:", "it", "begins", "with", 'b"x"']],
        ["–", "unknown", "40.0%", "blue", "c.png"],
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
