"""The model card: what is in it, and that Markdown shows every name as it is."""

import re

import pytest

from drawn_export import embedding, export, row, whole
from facectl_export.reports.card import NAMED, card, text
from facectl_runtime.evaluate import Evaluation, PerClass
from facectl_runtime.labelled import Image, Split
from facectl_runtime.spec import (
    CenterCrop,
    FaceAlign,
    InputSpec,
    Letterbox,
    ModelSpec,
    OutputSpec,
    Provenance,
    Squash,
)

HOSTILE = ("a|b", "<script>alert('1')</script>", "*bold* _it_ `code`", "[link](http://x)", "50 % & $x$ \\ ~~s~~")


def spec(labels=("cat", "dog"), resize=None, licence="Apache-2.0", weights="d" * 64, **more):
    source = Provenance("zoo", 3, "c" * 64, "efficientnet_lite0", weights, licence, {"tensorflow": "2.21.0"},
                        "2026-11-19T08:00:00Z")  # fmt: skip
    given = {"task": "classify", "labels": labels, "output": OutputSpec("probabilities", len(labels)), **more}
    return ModelSpec(name="zoo", precision="fp32", input=InputSpec(224, 192, resize or Squash()), provenance=source,
                     **given)  # fmt: skip


def evaluated(labels):
    """Evaluate so that the first class is never right and the last always."""
    of = {
        label: PerClass(0.5, place / (len(labels) - 1), place / len(labels), 20) for place, label in enumerate(labels)
    }
    return Evaluation(0.75, 40, (0.598, 0.858), of, labels, [[0] * len(labels)] * len(labels), {"x.jpg": "broken"})


SPLIT = Split(
    "/data",
    {
        "train": [Image(f"{place}", "cat") for place in range(7)] + [Image("d", "dog")],
        "val": [Image("v", "cat")],
        "test": [Image("t", "dog"), Image("u", "cat")],
    },
    {},
)


def tables(markdown):
    """Read the tables: a list of rows a table, cells as Markdown."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]


@pytest.fixture
def written():
    return card(spec(), whole(), evaluated(("cat", "dog")), SPLIT)


def test_the_sections_of_a_card(written):
    assert re.findall(r"^##? (.*)$", written, re.MULTILINE) == [
        "zoo", "Intended use", "How to run it", "Data", "Metrics", "What each file costs", "Limits", "Licences",
        "Provenance",
    ]  # fmt: skip


def test_every_table_is_one(written):
    for table in tables(written):
        assert {len(line) for line in table} == {len(table[0])}
        assert all(re.fullmatch("---:?", cell) for cell in table[1])


def test_it_says_how_each_file_is_run(written):
    lines = {line[0]: line[2] for line in tables(written)[0][2:]}
    assert list(lines) == [f"`{one.file}`" for one in whole().files]
    assert "facectl predict zoo.onnx PHOTOGRAPH" in lines["`zoo.onnx`"]
    assert "facectl[tflite]" in lines["`zoo.int8.tflite`"]
    assert "Xcode" in lines["`zoo.palette6.mlpackage`"]


def test_it_counts_the_data_and_names_its_fingerprint(written):
    assert tables(written)[1][2:] == [["train", "8", "2"], ["val", "1", "1"], ["test", "2", "2"]]
    assert "c" * 64 in written
    assert "1 test images could not be read" in written


def test_metrics_come_with_intervals_the_worst_class_first(written):
    assert "75.0 % of 40 test images" in written
    assert "59.8 to 85.8 %" in written
    assert tables(written)[2][2:] == [
        ["cat", "0.500", "0.000", "0.00 to 0.16", "0.000", "20"],
        ["dog", "0.500", "1.000", "0.84 to 1.00", "0.500", "20"],
    ]


def test_every_file_has_its_cost_and_its_shortcoming(written):
    assert [line[0] for line in tables(written)[3][2:]] == [one.file for one in whole().files]
    assert "zoo.palette4.mlpackage is degraded" in written
    assert "zoo.fp16.mlpackage is unverified" in written
    assert "drop in points \\[95 %\\]" in written


def test_licences_are_stated_or_said_to_be_unknown(written):
    assert "data: not stated. The photographs are whoever's they are" in written
    assert "weights under Apache-2.0" in written
    assert "a licence that is not known" in card(spec(licence=None), whole(), None, SPLIT)
    assert "no file of pretrained weights" in card(spec(licence=None, weights=None), whole(), None, SPLIT)


def test_provenance_names_what_would_make_it_again(written):
    for said in ("zoo, 3", "d" * 64, "a" * 64, "tensorflow 2.21.0", "2026-11-19T08:00:00Z", "minmax over 512"):
        assert said in written


def test_it_says_what_becomes_of_the_unknown(written):
    assert "a high probability does not say that the thing is known" in written
    assert "`facectl faces calibrate FILE --unknown DIR`" in written


def test_a_model_of_people_asks_for_consent_and_says_what_was_not_measured(written):
    people = card(spec(), whole(), None, SPLIT, people=True)
    for said in ("consent", "identify strangers", "not measured by group"):
        assert said in people
        assert said not in written


@pytest.mark.parametrize(
    ("resize", "said"),
    [
        (Squash(), "stretching"),
        (CenterCrop(0.9), "its centre (0.9"),
        (Letterbox(), "with bars"),
        (FaceAlign(((1, 1),) * 5), "five landmarks"),
    ],
)
def test_the_resize_is_said_in_words(resize, said):
    made = card(spec(resize=resize), whole(), None, SPLIT)
    assert said in made
    assert "224 × 192 pixels" in made


def test_an_embedding_has_cosines_and_no_classes():
    given = spec((), task="embed", output=OutputSpec("embedding", 128), embedding_id="zoo")
    made = card(given, embedding(), None, SPLIT)
    assert "128 numbers of L2 norm 1" in made
    assert "mean cosine" in made
    assert "facectl predict" not in made
    assert "Metrics" not in made
    assert "classLabel" not in made


def test_very_many_classes_are_not_all_listed_in_a_sentence():
    labels = tuple(f"class {place}" for place in range(NAMED + 20))
    made = card(spec(labels), export(row()), None, SPLIT)
    assert f"class {NAMED - 1}, and 20 more." in made


def test_hostile_names_are_text_in_the_cell_that_they_belong_to():
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    made = card(spec(HOSTILE), export(row()), evaluated(HOSTILE), SPLIT)
    html = markdown.render(made)
    assert not re.search("<(script|em|strong|a|s)[ >]", html)
    first = re.findall(r"<tr>\s*<td>(.*?)</td>", html)
    unescaped = {cell.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for cell in first}
    assert set(HOSTILE) <= unescaped


def test_a_name_stays_on_its_line():
    assert text("a\nb\r|c") == "a\\\\nb\\\\r\\|c"
    made = card(spec(), export(row(), machine="x\n# y"), None, SPLIT)
    assert "\n# y" not in made
