"""What the charts of a report show: the numbers behind them, and that they can be drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from facectl_trainer.reports.measures import (
    best_epochs,
    calibration_error,
    composition,
    confused_pairs,
    evenly,
    hardest_pairs,
    mean_f1,
    mixture,
    reliability,
    stages,
    surest_mistakes,
)
from facectl_trainer.reports.results import Epoch


def rows(answers):
    """Make probabilities of two classes from that of the second."""
    return np.array([[1 - p, p] for p in answers])


def history(*losses, stage="head", first=1):
    return [Epoch(stage, first + k, 1e-3, loss, 0.5, loss, 0.5, 1.0) for k, loss in enumerate(losses)]


def test_reliability_counts_each_answer_once_in_the_bin_of_its_confidence():
    bins = reliability(rows([0.95, 0.95, 1.0, 0.2, 0.5]), np.array([1, 0, 1, 0, 0]))
    assert [each.n for each in bins] == [0, 0, 0, 0, 1, 0, 0, 1, 0, 3]
    assert bins[9].accuracy == pytest.approx(2 / 3)
    assert bins[9].confidence == pytest.approx((0.95 + 0.95 + 1) / 3)
    assert np.isnan(bins[0].accuracy)


def test_the_calibration_error_is_the_weighted_distance():
    bins = reliability(rows([0.9] * 10), np.array([1] * 5 + [0] * 5))
    assert calibration_error(bins) == pytest.approx(0.4)
    assert calibration_error(reliability(rows([0.75] * 4), np.array([1, 1, 1, 0]))) == pytest.approx(0)


def test_composition_compares_shares_and_leaves_out_what_is_not_there():
    shares = composition(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]), 3)
    assert shares.data.tolist() == [0.75, 0.25, 0]
    assert shares.predictions.tolist() == [0.5, 0.25, 0.25]
    np.testing.assert_allclose(shares.difference, [-1 / 3, 0, np.nan])


def test_the_most_confused_pairs_come_by_count_and_then_by_share():
    found = confused_pairs([[5, 1, 0], [3, 90, 1], [0, 0, 7]], 10)
    assert [(pair.true, pair.predicted, pair.count) for pair in found] == [(1, 0, 3), (0, 1, 1), (1, 2, 1)]
    assert found[0].share == pytest.approx(3 / 94)
    assert len(confused_pairs([[5, 1, 0], [3, 90, 1], [0, 0, 7]], 2)) == 2
    assert confused_pairs(np.eye(3, dtype=int), 5) == []


def test_the_surest_mistakes_are_wrong_and_in_order():
    assert surest_mistakes(rows([0.6, 0.99, 0.8, 0.1]), np.array([0, 1, 0, 1]), 5) == [3, 2, 0]


def test_evenly_takes_each_class_in_turn():
    assert evenly([0, 0, 0, 1, 2, 2], 4) == [0, 1, 3, 4]
    assert evenly([0, 0], 5) == [0, 1]


def test_a_mixture_holds_right_and_wrong_answers():
    truth = np.zeros(30, int)
    answers = np.array([0.9] * 10 + [0.1] * 20)  # the first ten are wrong
    chosen = mixture(rows(answers), truth, 9)
    assert len(chosen) == len(set(chosen)) == 9
    assert sum(place < 10 for place in chosen) == 3
    assert len(mixture(rows([0.9] * 5 + [0.1]), np.zeros(6, int), 6)) == 6  # with few right ones, more wrong ones


def test_the_hardest_pairs_are_of_different_classes_and_each_image_stands_in_one():
    features = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.1, 1]], np.float32)
    pairs, median = hardest_pairs(features, np.array([0, 0, 1, 1, 0]), 5)
    assert [(pair.first, pair.second) for pair in pairs] == [(1, 2), (3, 4)]
    assert pairs[0].cosine == pytest.approx(1, abs=1e-4)
    assert 0 < median < 1
    assert hardest_pairs(features, np.zeros(5, int), 5)[0] == []


def test_features_of_length_0_are_no_pair_of_their_own():
    pairs, _ = hardest_pairs(np.zeros((2, 4), np.float32), np.array([0, 1]), 1)
    assert pairs[0].cosine == 0


def test_stages_and_their_best_epochs():
    course = [*history(3, 1, 2), *history(0.5, 0.9, stage="conv5", first=4)]
    assert stages(course) == [("head", 1, 3), ("conv5", 4, 5)]
    assert [row.epoch for row in best_epochs(course)] == [2, 4]
    assert best_epochs(history(float("nan"))) == []


def test_macro_f1_leaves_out_classes_that_nothing_is_known_of():
    assert mean_f1([1.0, None, 0.5]) == 0.75
    assert np.isnan(mean_f1([None]))


# Drawing


@pytest.mark.parametrize("classes", [2, 60, 200])
def test_a_confusion_matrix_of_any_size_can_be_drawn(classes):
    pytest.importorskip("matplotlib")
    from facectl_trainer.reports.canvas import DARK, render
    from facectl_trainer.reports.charts import confusion_matrix

    labels = [f"class {number} with a name that is long" for number in range(classes)]
    picture = Image.open(io.BytesIO(render(confusion_matrix(np.eye(classes, dtype=int) * 3, labels), DARK)))
    assert 300 < picture.width < 1400
    assert 300 < picture.height < 1400


def test_a_label_with_dollar_signs_is_text_and_a_script_without_a_font_is_no_error(recwarn):
    pytest.importorskip("matplotlib")
    from facectl_trainer.reports.canvas import render
    from facectl_trainer.reports.charts import composition_chart

    labels = ["$\\frac{", "熊猫", "a_b^c"]
    shares = composition(np.array([0, 1, 2]), np.array([0, 1, 1]), 3)
    assert render(composition_chart(shares, labels)).startswith(b"\x89PNG")
    assert list(recwarn) == []


def test_drawing_leaves_the_style_of_others_alone():
    matplotlib = pytest.importorskip("matplotlib")
    from facectl_trainer.reports.canvas import DARK, render
    from facectl_trainer.reports.charts import learning_curves

    before = dict(matplotlib.rcParams)
    assert render(learning_curves(history(3, 2, 1)), DARK).startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    import sys

    from facectl_runtime.errors import MissingExtraError
    from facectl_trainer.reports.canvas import render
    from facectl_trainer.reports.charts import learning_curves

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"facectl\[train\]"):
        render(learning_curves(history(3, 2)))
