"""What an int8 file is made of: of the candidates for its ranges, what is nearest to the trained model on val."""

import dataclasses
import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from drawn_export import compared
from drawn_run import _spec
from facectl_export.calibration import Calibration
from facectl_export.formats import WRITERS, Quantizer, Settings
from facectl_export.make import AUTO, NONE, Workshop
from facectl_export.precision import Cell
from facectl_export.ranges import Ranges

SPEC = _spec("tiny", ["a", "b"], 0)
WAYS = ("minmax", "percentile 99.999", "percentile 99.99")


class Val:
    """Knows how far the file of each way is from the trained model, and on how many images it agrees."""

    def __init__(self, *distances, agreement=1.0, but=None):
        self.distances, self.tried = dict(zip(WAYS, distances, strict=False)), []
        self.agreement = dict.fromkeys(WAYS, agreement) | (but or {})

    def __call__(self, path):
        way, _, kept = path.read_text().partition(" without ")
        self.tried.append((way, kept))
        return replace(compared(), kl=self.distances[way], agreement=1.0 if kept else self.agreement[way])


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Give a function that makes an int8 file by some ways, and gives what is known of it."""

    def make(val, method="auto", keep=AUTO):
        ways = [Ranges(way, {}, {}) for way in val.distances]

        def write(_base, ranges, path, kept):
            path.write_text(f"{ranges.how} without {','.join(kept)}" if kept else ranges.how)

        quantizer = Quantizer(lambda *_: ways, write, lambda _: ["conv", "dense", "top"])
        writer = dataclasses.replace(WRITERS["onnx"], quantizer=quantizer, write_base=lambda *_: None)
        monkeypatch.setitem(WRITERS, "onnx", writer)
        calibration = Calibration(tmp_path, [None] * 7, SPEC.input, method)
        shop = Workshop(SPEC, lambda _: (None, None), calibration, Settings(), keep, val, tmp_path, True)
        (one,) = shop.make([Cell("onnx", "int8")])
        return one

    return make


@pytest.mark.parametrize("nearest", range(3))
def test_the_nearest_on_val_is_written(made, nearest):
    val = Val(*(0.01 if place == nearest else 0.02 for place in range(3)))
    one = made(val)
    assert Path(one.path).read_text() == WAYS[nearest]
    assert one.calibration == f"{WAYS[nearest]} over 7 training images, the nearest on val"
    assert one.kept_float is None
    assert val.tried == [(way, "") for way in WAYS]


def test_the_nearest_of_those_within_tolerance_is_written_though_another_is_nearer(made):
    one = made(Val(0.01, 0.03, 0.02, but={WAYS[0]: 0.5}))
    assert (one.path.read_text(), one.kept_float) == (WAYS[2], None)


def test_answers_that_are_no_numbers_are_nearest_to_nothing(made):
    assert made(Val(math.nan, 0.03, 0.02)).path.read_text() == WAYS[2]


def test_layers_are_kept_float_beside_the_ranges_that_were_chosen(made):
    one = made(Val(0.02, 0.01, 0.03, agreement=0.5))
    assert one.path.read_text() == f"{WAYS[1]} without {','.join(one.kept_float.layers)}"
    assert (one.kept_float.agreement_before, one.kept_float.agreement) == (0.5, 1.0)


def test_where_nothing_is_chosen_val_is_not_asked(made):
    val = Val(0.5)
    one = made(val, "minmax", NONE)
    assert (one.path.read_text(), one.calibration) == ("minmax", "minmax over 7 training images")
    assert val.tried == []


def test_nothing_is_kept_float_on_request_and_ranges_are_chosen_still(made):
    one = made(Val(0.03, 0.02, 0.01, agreement=0.5), keep=NONE)
    assert (one.path.read_text(), one.kept_float) == (WAYS[2], None)
