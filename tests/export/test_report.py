"""The page of an export: opens alone, says what falls short, and shows every file and every image once."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from drawn_export import PHOTOGRAPHS, embedded, embedding, export, measured, row, whole

pytest.importorskip("matplotlib")

from facectl_export.measured import Disagreement, KeptFloat
from facectl_export.reports.charts import apart, latency_chart, size_chart
from facectl_export.reports.report import SHOWN, page
from facectl_runtime.bench.latency import Latency
from facectl_trainer.reports.canvas import DARK, LIGHT, render

HOSTILE = "<script>alert('1')</script> & \"x\" | $y$"
PICTURE = np.full((32, 48, 3), 90, np.uint8)


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, content):
        super().__init__()
        self.source = content.decode("utf-8")
        self.tags, self.links, self.text, self.tables, self.alts, self._cell = [], [], [], [], [], False
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href", "srcset") if name in attributes]
        self.alts += [attributes["alt"]] if "alt" in attributes else []
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text.append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data

    def table(self, number=0):
        head, *rows = self.tables[number]
        return {line[0]: dict(zip(head, line, strict=True)) for line in rows}

    @property
    def words(self):
        return " ".join(self.text)


@pytest.fixture(scope="module")
def shown():
    return Page(page(whole(), dict.fromkeys(PHOTOGRAPHS[:5], PICTURE)))


def test_it_opens_alone(shown):
    assert all(link.startswith(("data:image/", "#")) for link in shown.links)
    assert not {"script", "link", "iframe", "object", "form"} & set(shown.tags)
    assert "url(" not in shown.source
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", shown.source)


def test_the_headline_says_what_how_good_on_how_many_where_and_when(shown):
    for said in ("zoo: 15 files", "96.4 %", "of 251 test images", "93.3 to 98.1 %", "x86_64, Linux, 2 cores",
                 "2026-11-20 10:11:12 UTC", "minmax over 512 training images", "7.2 minutes"):  # fmt: skip
        assert said in shown.words


def test_every_file_stands_in_the_table_with_its_figures(shown):
    rows = shown.table()
    assert list(rows) == [one.file for one in whole().files]
    assert rows["zoo.int8.onnx"] == {
        "file": "zoo.int8.onnx", "gate": "passed", "runs from": "ONNX Runtime 1.24", "MB": "3.80", "MB zipped": "3.40",
        "top-1": "0.9641", "drop in points [95\u00a0%]": "+0.00 [-1.10, +1.30]", "agreement": "0.9880",
        "largest Δp": "0.21", "KL": "0.0023", "integer ops": "47/50", "weights ≤ 8 bits, %": "99.1",
        "ms, median": "4.10", "p95": "5.00", "× fp32": "0.52",
    }  # fmt: skip
    assert rows["zoo.fp16.mlpackage"]["top-1"] == "–"
    assert rows["zoo.int8.tflite"]["× fp32"] == "1.17"  # of the fp32 file of its own format


def test_what_falls_short_was_not_tried_or_does_not_pay_is_said_first(shown):
    notes = shown.source[: shown.source.index("<nav>")]
    assert notes.count('class="note"') == 4
    for said in ("zoo.palette4.mlpackage is degraded", "agreement 0.9323, at least 0.9681 is needed",
                 "zoo.fp16.mlpackage is unverified", "zoo.int8.tflite is slower than float on this machine: 11.20 ms",
                 "zoo.int8-weights.tflite is slower than float on this machine: 14.90 ms"):  # fmt: skip
        assert said in notes


def test_ways_to_find_ranges_are_named_together():
    nearest = "over 9 training images, the nearest on val"
    ways = (
        f"minmax {nearest}",
        f"percentile 99.99 {nearest}",
        "",
        f"minmax {nearest}",
        "entropy over 8 training images",
    )
    assert export(*(row(calibration=way) for way in ways)).calibration == (
        f"entropy over 8 training images; minmax, percentile 99.99 {nearest}"
    )


def test_nothing_is_said_of_files_that_are_as_they_should_be():
    assert 'class="note"' not in page(export(row()), {}).decode()


def test_kept_layers_and_fine_tunings_have_their_cost(shown):
    kept, tuned = shown.table(1), shown.table(2)
    assert kept["zoo.int8.onnx"]["agreement on val"] == "0.9510 → 0.9840"
    assert kept["zoo.int8.onnx"]["images"] == "148"
    assert kept["zoo.int8.onnx"]["MB"] == "3.70 → 3.79"
    assert "stem_conv, blocks_1_depthwise, blocks_2_depthwise" in shown.words
    assert list(tuned) == ["quantize-aware", "pruned", "clustered"]
    assert [tuned["pruned"][name] for name in ("before", "tuned", "stripped")] == ["0.9620", "0.9580", "0.9570"]
    assert tuned["quantize-aware"]["files"] == "zoo.int8-qat.onnx, zoo.int8-qat.tflite"


def test_an_image_is_shown_once_with_what_each_file_says(shown):
    assert shown.source.count('<figure class="card">') == 5
    (first,) = [alt for alt in shown.alts if "sheep/014.jpg" in alt]
    assert first.startswith("sheep, trained: sheep 0.61, onnx int8: goat 0.48, ")
    assert "coreml palette4: goat 0.48" in first


def test_an_image_without_a_picture_is_named():
    none = Page(page(whole(), {}))
    assert "figure" not in none.tags
    rows = none.tables[-1]
    assert rows[1][:5] == ["sheep/014.jpg", "sheep", "sheep 0.61", "zoo.int8.onnx", "goat 0.48"]
    assert {line[0] for line in rows[1:]} == set(PHOTOGRAPHS)


def test_of_very_many_images_the_worst_are_shown_and_it_says_so():
    worst = tuple(Disagreement(f"{place}.jpg", "a", "a", 0.5, "b", 0.5, place / 100) for place in range(SHOWN + 6))
    found = Page(page(export(row(worst=worst)), {}))
    assert f"Shown are {SHOWN} of {SHOWN + 6}." in found.words
    assert [line[0] for line in found.tables[-1][1:]][:2] == [f"{SHOWN + 5}.jpg", f"{SHOWN + 4}.jpg"]


def test_names_are_text_whatever_stands_in_them():
    one = row(
        file=HOSTILE,
        gate="degraded",
        shortfalls=(HOSTILE,),
        target=HOSTILE,
        latency=Latency(1, 2, 3, HOSTILE, HOSTILE),
        slower_than_float=True,
        kept_float=KeptFloat((HOSTILE,), 0.5, 0.6, 9, 10, 11),
        calibration=HOSTILE,
        worst=(
            Disagreement(HOSTILE, HOSTILE, HOSTILE, 0.5, HOSTILE, 0.5, 0.1),
            Disagreement(f"/{HOSTILE}", HOSTILE, HOSTILE, 0.5, HOSTILE, 0.5, 0.1),
        ),
    )
    found = Page(page(export(one, name=HOSTILE, machine=HOSTILE), {HOSTILE: PICTURE}))
    assert "script" not in found.tags
    assert "<script" not in found.source
    assert found.words.count(HOSTILE) > 10


def test_an_embedding_has_cosines_and_no_accuracy():
    found = Page(page(embedding(), {}))
    assert found.table()["zoo.int8.onnx"]["mean cosine [95\u00a0%]"] == "0.99610 [0.99608, 0.99612]"
    assert not {"top-1", "agreement", "KL", "ms, median"} & set(found.tables[0][0])
    assert "An embedding, compared with the trained model's on 251 test images." in found.words


def test_the_norm_of_an_embedding_is_shown_where_it_was_measured():
    one = row(comparison=msgspec.structs.replace(embedded(), norm=0.00021))
    other = row("tflite", comparison=embedded())
    found = Page(page(export(one, other, task="embed", accuracy=None), {})).table()
    assert [found[each.file]["largest |norm - 1|"] for each in (one, other)] == ["0.00021", "–"]


def test_columns_and_charts_of_what_was_not_measured_are_left_out():
    found = Page(page(export(*(row("coreml", one, gate="unverified") for one in ("fp32", "fp16"))), {}))
    assert any("zoo.mlpackage, zoo.fp16.mlpackage are unverified" in text for text in found.text)
    assert found.tables[0][0] == ["file", "gate", "runs from", "MB", "MB zipped"]
    assert "img" not in found.tags


# Charts


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("made", [whole(), embedding(), export(measured("onnx", "fp32", 13, 12, 0, 0, 0, 8))])
def test_charts_are_drawn_of_many_files_and_of_one(made, theme):
    assert render(size_chart(made), theme).startswith(b"\x89PNG")
    assert (latency_chart(made) is None) == (made.task == "embed")


def test_a_file_that_was_not_compared_is_in_no_size_chart():
    assert size_chart(export(row())) is None
    assert size_chart(export(row(), row("tflite", comparison=embedded()), task="embed", accuracy=None)) is not None


@pytest.mark.parametrize("wanted", [[], [0.5], [0.5] * 10, [0.0, 0.0, 0.01, 0.5, 0.51, 1.0, 1.0], [0.1, 0.5, 0.9]])
def test_positions_come_apart_and_stay_inside(wanted):
    placed = apart(wanted, 0.05)
    assert all(after - before >= 0.05 - 1e-9 for before, after in pairwise(placed))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in placed)


def test_positions_move_no_more_than_they_must():
    assert apart([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert apart([0.2, 0.5, 0.5, 0.5], 0.1) == pytest.approx([0.2, 0.4, 0.5, 0.6])


def test_the_report_reads_back_what_the_page_was_made_of():
    assert msgspec.json.decode(msgspec.json.encode(whole()), type=type(whole())) == whole()
