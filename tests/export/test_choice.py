"""The cells of formats × precisions, and the table that says which there are."""

import pytest

from facectl_export.choice import cells, precisions_named, refusals, rows
from facectl_export.formats import WRITERS
from facectl_export.precision import PRECISIONS
from facectl_runtime.errors import UsageError


def test_a_cell_is_made_or_refused_and_never_both():
    for name, recipe in PRECISIONS.items():
        assert set(recipe.targets) | set(recipe.refused) == set(WRITERS), name
        assert not set(recipe.targets) & set(recipe.refused), name


@pytest.mark.parametrize("kind", WRITERS)
def test_every_file_of_the_table_has_somebody_who_makes_it(kind):
    writer = WRITERS[kind]
    for name, recipe in PRECISIONS.items():
        if kind in recipe.targets:
            assert name in writer.bases
            assert name in writer.derive or (writer.quantizer and recipe.integer == "arithmetic"), name
        else:
            assert name not in writer.derive


def test_all_leaves_out_what_there_is_not():
    found = cells("all", "all")
    assert len(found) == sum(len(recipe.targets) for recipe in PRECISIONS.values()) == 18
    assert cells("onnx,coreml", "all") == [cell for cell in found if cell.format != "tflite"]
    assert [cell.format for cell in cells("all", "int8")] == ["onnx", "tflite"]


def test_what_is_named_and_not_there_is_refused_with_the_reason():
    wanted = r"--format coreml --quantize int8: there is no such file \(.*\), but with --format onnx, tflite"
    with pytest.raises(UsageError, match=wanted):
        cells("onnx,coreml", "fp32,int8")


def test_case_does_not_matter():
    assert cells("ONNX", "FP32,Int8") == cells("onnx", "fp32,int8")


def test_the_table_has_a_row_a_precision_and_says_why_of_each_gap():
    table = [list(row) for row in rows()]
    assert [row[0] for row in table[1:]] == list(PRECISIONS)
    gaps = sum(row.count("–") for row in table)
    assert gaps == len(list(refusals())) == 3 * len(PRECISIONS) - 18


def test_precisions_are_named_in_their_own_order():
    assert precisions_named("int8, fp32", "--allow-degraded") == ["fp32", "int8"]
    assert precisions_named("", "--allow-degraded") == []
