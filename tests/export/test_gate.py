"""The gate's numbers, worked out by hand, and that each of them can close it."""

import dataclasses
import math
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from facectl_export.gate import IntegerShare, by_name_only, compare, compare_embeddings, shortfalls
from facectl_export.precision import PRECISIONS, Tolerance
from facectl_runtime.evaluate import Answered
from facectl_runtime.labelled import Image

CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"
STRICT = Tolerance(agreement=0.9, largest=0.1, mean=0.02, kl=0.05, drop=0.01, cosine=0.99, least=0.9, golden=0.1)
TOLERANCES = {name: recipe.tolerance for name, recipe in PRECISIONS.items()}


def answered(probabilities, truth):
    images = [Image(f"a/{number}.png", "a") for number in range(len(truth))]
    return Answered(images, np.array(truth), np.array(probabilities, np.float32), [])


TRAINED = answered([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]], [0, 1, 0, 0])
EXPORTED = answered([[0.7, 0.3], [0.6, 0.4], [0.5, 0.5], [0.1, 0.9]], [0, 1, 0, 0])


def test_the_numbers_by_hand():
    found = compare(TRAINED, EXPORTED)
    assert (found.n, found.accuracy_trained, found.accuracy) == (4, 0.75, 0.5)
    assert found.agreement == 0.75
    assert found.largest == pytest.approx(0.2)
    assert found.mean == pytest.approx((0.1 + 0.1 + 0.2 + 0.2) / 8)
    kl = 0.8 * math.log(0.8 / 0.7) + 0.2 * math.log(0.2 / 0.3) + 0.4 * math.log(0.4 / 0.6) + 0.6 * math.log(0.6 / 0.4)
    assert found.kl == pytest.approx(kl / 4, rel=1e-5)
    assert found.drop == 0.25
    assert found.disagreements == ("a/1.png",)
    assert found.agreement_interval == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson's, 3 of 4
    low, high = found.drop_interval
    assert -1 < low < 0 < 0.25 < high < 1


def test_a_drop_below_nothing_is_accuracy_won():
    assert compare(EXPORTED, TRAINED).drop == -0.25
    assert not shortfalls(msgspec.structs.replace(GOOD, drop=-0.25), STRICT)


def test_the_same_answers_pass_at_every_precision():
    found = compare(TRAINED, TRAINED)
    assert (found.agreement, found.largest, found.mean, found.kl, found.drop) == (1, 0, 0, 0, 0)
    assert not any(shortfalls(found, tolerance) for tolerance in TOLERANCES.values())


def test_answers_to_other_images_cannot_be_compared():
    others = Answered(TRAINED.images[::-1], TRAINED.truth, TRAINED.probabilities, [])
    with pytest.raises(ValueError, match="different images"):
        compare(TRAINED, others)


# Exactly at each tolerance, with a hundred images
GOOD = msgspec.structs.replace(
    compare(TRAINED, TRAINED), n=100, agreement=0.9, largest=0.1, mean=0.02, kl=0.05, drop=0.01
)


def test_what_lies_at_the_tolerance_passes():
    assert shortfalls(GOOD, STRICT) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("agreement", 0.89, "agreement 0.89, at least 0.9 is needed"),
        ("largest", 0.11, "largest |Δp| 0.11, at most 0.1 is allowed"),
        ("mean", 0.021, "mean |Δp| 0.021, at most 0.02 is allowed"),
        ("kl", 0.051, "KL divergence 0.051, at most 0.05 is allowed"),
        ("drop", 0.02, "drop in accuracy 0.02, at most 0.01 is allowed"),
    ],
)
@pytest.mark.parametrize("number", [True, False])
def test_each_measure_closes_the_gate_alone(field, value, said, number):
    (found,) = shortfalls(msgspec.structs.replace(GOOD, **{field: value if number else math.nan}), STRICT)
    assert str(found) == said or not number


def test_answers_that_are_no_numbers_fail_at_every_precision():
    broken = answered([[math.nan, math.nan], *EXPORTED.probabilities[1:]], EXPORTED.truth)
    found = compare(TRAINED, broken)
    for tolerance in TOLERANCES.values():
        measures = {shortfall.measure for shortfall in shortfalls(found, tolerance)}
        assert {"largest |Δp|", "mean |Δp|", "KL divergence"} <= measures
    assert all("nan" in str(one) for one in shortfalls(found, TOLERANCES["int8"]) if one.measure == "mean |Δp|")


@pytest.mark.parametrize(("n", "allowed"), [(1, 1), (9, 1), (40, 1), (100, 1), (101, 2), (200, 2), (250, 3), (700, 7)])
def test_accuracy_is_lost_in_whole_images(n, allowed):
    """One point of n images, rounded up to a whole image."""
    for lost, passes in ((allowed, True), (allowed + 1, False)):
        measured = msgspec.structs.replace(GOOD, n=n, drop=lost / n)
        assert (shortfalls(measured, STRICT) == []) is passes


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_as_many_images_may_answer_otherwise_as_are_allowed_and_no_more(precision):
    tolerance, alike = TOLERANCES[precision], compare(TRAINED, TRAINED)
    for n in range(1, 1001):
        allowed = math.ceil(round(n * (1 - tolerance.agreement), 9))
        for flipped in range(min(allowed + 2, n + 1)):
            agreement = float((np.arange(n) >= flipped).mean())
            measured = msgspec.structs.replace(alike, n=n, agreement=agreement)
            assert (not shortfalls(measured, tolerance)) is (flipped <= allowed), (n, flipped)


def test_at_fp32_a_single_image_lost_is_one_too_many():
    measured = msgspec.structs.replace(compare(TRAINED, TRAINED), n=10_000, drop=1 / 10_000)
    assert [one.measure for one in shortfalls(measured, TOLERANCES["fp32"])] == ["drop in accuracy"]


# Embeddings


def test_embeddings_are_compared_by_cosine():
    one = answered([[1, 0], [0.6, 0.8], [0, 1]], [0, 0, 0])
    other = answered([[1, 0], [0.8, 0.6], [0, 1]], [0, 0, 0])
    found = compare_embeddings(one, other)
    assert found.cosine == pytest.approx((1 + 0.96 + 1) / 3)
    assert found.least == pytest.approx(0.96)
    assert found.largest == pytest.approx(0.2)
    low, high = found.cosine_interval
    assert low < found.cosine < high <= 1
    (short,) = shortfalls(found, STRICT)
    assert str(short) == "mean cosine 0.9867, at least 0.99 is needed"
    assert shortfalls(compare_embeddings(one, one), STRICT) == []


def test_one_embedding_that_is_somebody_elses_falls_short_among_many_that_agree():
    one = answered([[1, 0]] * 1000, [0] * 1000)
    (short,) = shortfalls(compare_embeddings(one, answered([[0, 1], *[[1, 0]] * 999], [0] * 1000)), STRICT)
    assert str(short) == "least cosine 0, at least 0.9 is needed"


def test_embeddings_that_are_no_numbers_fall_short():
    broken = answered([[math.nan, math.nan], [0.6, 0.8]], [0, 0])
    found = compare_embeddings(answered([[1, 0], [0.6, 0.8]], [0, 0]), broken)
    assert [str(short) for short in shortfalls(found, STRICT)] == [
        "mean cosine nan, at least 0.99 is needed",
        "least cosine nan, at least 0.9 is needed",
        "largest |norm - 1| nan, at most 0.001 is allowed",
    ]


@pytest.mark.parametrize(("norm", "passes"), [(1, True), (1.0009, True), (0.998, False), (1.002, False), (7, False)])
def test_embeddings_that_are_not_of_norm_1_fall_short_whatever_their_cosine(norm, passes):
    one = answered([[1, 0], [0.6, 0.8]], [0, 0])
    found = compare_embeddings(one, answered([[1, 0], [0.6 * norm, 0.8 * norm]], [0, 0]))
    assert found.cosine == pytest.approx(1)
    assert found.norm == pytest.approx(abs(norm - 1), abs=1e-6)
    for tolerance in (STRICT, *TOLERANCES.values()):
        assert [short.measure for short in shortfalls(found, tolerance)] == ["largest |norm - 1|"] * (not passes)


# int8 by name


@pytest.mark.parametrize(
    ("share", "needed", "said"),
    [
        (IntegerShare(25, 50, 90, 100), "arithmetic", None),
        (IntegerShare(24, 50, 90, 100), "arithmetic", "24 of 50 layers compute on integers"),
        (IntegerShare(0, 50, 90, 100), "weights", None),
        (IntegerShare(0, 0, 90, 100), "arithmetic", "0 of 0 layers compute on integers"),
        (IntegerShare(0, 0, 0, 0), "weights", "0 of 0 weights are stored in 8 bits"),
        (IntegerShare(50, 50, 49, 100), "weights", "49 of 100 weights are stored in 8 bits"),
        (IntegerShare(50, 50, 49, 100), "arithmetic", "49 of 100 weights are stored in 8 bits"),
    ],
)
def test_a_file_that_is_int8_by_name_only_is_known(share, needed, said):
    found = by_name_only(share, needed)
    assert found is None if said is None else found == f"int8 by name only: {said}"


# What the contract says

NAMES = {"any": "least"} | {name: name for name in ("golden", "cosine", "kl", "agreement", "drop", "largest", "mean")}
"""What tells a row of the page's table → the tolerance it states; the first that is found counts."""


def number(cell):
    """Read what a cell allows: `–` is anything, and a share may be given in points or per cent."""
    if cell == "–":
        return None
    value, unit = re.match(r"([\d.]+(?:e-?\d+)?)\s*(%|points?\b)?", cell).groups()
    return float(value) / (100 if unit else 1)


def stated():
    """Read the table under "The gate": {precision: {tolerance: number}}; `int8` stands for all that are coarser."""
    section = CONTRACT.read_text(encoding="utf-8").partition("\n## The gate\n")[2].partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE).group()
    head, _, *lines = ([cell.strip(" `") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines())
    found = {precision: {} for precision in head[1:]}
    for name, *cells in lines:
        field = next(field for word, field in NAMES.items() if re.search(rf"\b{word}\b", name.lower()))
        for precision, cell in zip(head[1:], cells, strict=True):
            assert field not in found[precision], name
            found[precision][field] = number(cell)
    return found


def test_the_contract_states_the_tolerances():
    found = stated()
    assert set(found) == {"fp32", "fp16", "int8 and below"}
    for name, tolerance in TOLERANCES.items():
        precision = name if name in found else "int8 and below"
        held = dataclasses.asdict(tolerance)
        assert set(found[precision]) == set(held)
        for field, value in found[precision].items():
            if value is None:
                assert held[field] >= 1, (precision, field)  # no |Δp| is larger
            else:
                assert held[field] == pytest.approx(value, rel=1e-9), (precision, field)
