"""From what YuNet gives to faces, by hand-made numbers: decoded, one of many candidates, the one of a portrait."""

import numpy as np
import pytest

from facectl_runtime.faces import detect
from facectl_runtime.faces.detect import Candidates, Face, largest_and_central

# Decoding


def outputs(width=64, height=32):
    """Make what YuNet gives where nothing is."""
    cells = [width // stride * (height // stride) for stride in (8, 16, 32)]
    return [np.zeros((1, n, size), np.float32) for size in (1, 1, 4, 10) for n in cells]


def put(arrays, stride, cell, scores, box, points=(0.0,) * 10):
    of_stride = arrays[(8, 16, 32).index(stride) :: 3]
    for array, values in zip(of_stride, ([scores[0]], [scores[1]], box, points), strict=True):
        array[0, cell] = values


def test_a_cell_becomes_a_box_and_five_points_in_pixels():
    arrays = outputs()
    # Row 2, column 5 of the 8 columns that stride 8 has in 64 pixels.
    put(arrays, 8, 21, (0.81, 1), (0.5, 0.25, np.log(2), np.log(4)), np.arange(10) / 4)
    found = detect.decode(arrays, 64)
    assert found.scores == pytest.approx([0.9])
    assert found.boxes[0] == pytest.approx([44 - 8, 18 - 16, 44 + 8, 18 + 16])
    assert found.landmarks[0].tolist() == [[40, 18], [44, 22], [48, 26], [52, 30], [56, 34]]


@pytest.mark.parametrize(("stride", "cell", "centre"), [(8, 31, (56, 24)), (16, 4, (0, 16)), (32, 1, (32, 0))])
def test_every_stride_counts_its_own_cells_row_by_row(stride, cell, centre):
    arrays = outputs()
    put(arrays, stride, cell, (1, 1), (0, 0, 0, 0))
    box = detect.decode(arrays, 64).boxes[0]
    assert ((box[:2] + box[2:]) / 2).tolist() == list(centre)
    assert (box[2:] - box[:2]).tolist() == [stride, stride]


def test_a_score_is_the_geometric_mean_of_two_that_are_cut_at_0_and_1():
    arrays = outputs()
    for cell, scores in enumerate([(1.7, 0.64), (0.7, 0.7), (0.98, 0.49), (-1, -1)]):
        put(arrays, 8, cell, scores, (cell, 0, 0, 0))
    found = detect.decode(arrays, 64, 0.695)
    assert found.scores == pytest.approx([0.8, 0.7])
    assert found.boxes[:, 0].tolist() == [-4, 12]


def test_where_nothing_is_nothing_is_decoded():
    found = detect.merge(detect.decode(outputs(), 64))
    assert found.boxes.shape == (0, 4)
    assert found.landmarks.shape == (0, 5, 2)
    assert detect.to_faces(found, 64, 32) == []


def test_yunet_is_given_blue_first_and_black_up_to_multiples_of_32():
    pixels = np.full((33, 20, 3), (1, 2, 3), np.uint8)
    values = detect.to_values(pixels)
    assert values.shape == (1, 3, 64, 32)
    assert values.dtype == np.float32
    assert values[0, :, 32, 19].tolist() == [3, 2, 1]
    assert not values[0, :, 33:].any()
    assert not values[0, :, :, 20:].any()


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        ((250, 250), [(320, 320), (160, 160)]),
        ((640, 480), [(640, 480), (320, 240), (160, 120)]),
        ((4000, 3000), [(1280, 960), (640, 480), (320, 240)]),
        ((1, 1), [(320, 320), (160, 160)]),
        ((1, 5000), [(1, 1280), (1, 640), (1, 320)]),
    ],
)
def test_levels(size, levels):
    assert detect.level_sizes(*size) == levels


# One face of many candidates


def candidates(*rows):
    """Make candidates of (box, score, weight); all five landmarks lie in the left upper corner."""
    boxes, scores, weights = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    return Candidates(boxes, np.repeat(boxes[:, None, :2], 5, axis=1), scores, weights)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 10, 10), 1),
        ((5, 0, 15, 10), 1 / 3),
        ((5, 5, 15, 15), 25 / 175),
        ((0, 0, 5, 5), 0.25),
        ((20, 20, 30, 30), 0),
        ((20, 0, 30, 10), 0),
    ],
)
def test_overlap(box, expected):
    one, other = np.array([0, 0, 10, 10], np.float32), np.array([box], np.float32)
    assert detect.overlap(one, other) == pytest.approx([expected])


def test_faces_that_lie_apart_stay_two_and_the_better_is_first():
    found = detect.merge(candidates(((0, 0, 10, 10), 0.8, 1), ((6, 0, 16, 10), 0.9, 1)))
    assert found.boxes.tolist() == [[6, 0, 16, 10], [0, 0, 10, 10]]
    assert found.scores == pytest.approx([0.9, 0.8])


def test_candidates_of_one_place_become_their_weighted_mean_with_the_best_score():
    found = detect.merge(candidates(((2, 0, 12, 10), 0.8, 3), ((0, 0, 10, 10), 0.9, 1)))
    assert found.boxes.tolist() == [[1.5, 0, 11.5, 10]]
    assert found.landmarks[0].tolist() == [[1.5, 0]] * 5
    assert found.scores == pytest.approx([0.9])


def test_a_candidate_that_overlaps_by_less_than_half_neither_stays_nor_moves_the_face():
    found = detect.merge(candidates(((0, 0, 10, 10), 0.9, 1), ((4, 0, 14, 10), 0.8, 1)))  # 60 / 140
    assert found.boxes.tolist() == [[0, 0, 10, 10]]


def test_a_small_face_says_less_of_the_place_than_a_large_one():
    arrays = outputs(320, 320)
    put(arrays, 8, 0, (1, 1), (0, 0, np.log(3), np.log(3)))
    put(arrays, 32, 0, (1, 1), (0, 0, np.log(3), np.log(3)))
    assert detect.decode(arrays, 320).weights == pytest.approx([24**2, 48**2])


def test_boxes_end_with_the_picture_and_landmarks_stay_where_they_are():
    outside = candidates(((-5, -6, 20, 30), 0.9, 1), ((50, 60, 70, 80), 0.8, 1), ((2, 3, 4, 5), 0.7, 1))
    first, second = detect.to_faces(outside, 15, 25)
    assert first.box == (0, 0, 15, 25)
    assert first.landmarks == ((-5, -6),) * 5
    assert second.box == (2, 3, 4, 5)
    assert second.score == pytest.approx(0.7)


# The one of a portrait


def face(*box):
    return Face(box, 0.9, ((0, 0),) * 5)


def test_a_portrait_is_of_the_largest_face_unless_it_is_far_from_the_middle():
    middle, aside, small = face(100, 100, 150, 150), face(0, 90, 60, 160), face(120, 120, 130, 130)
    assert largest_and_central([small, aside, middle], 250, 250) == middle
    # 90 × 200 - 2 × (95² + 15²) < 0 < 50² - 2 × 15², and the other way round where the picture is narrow.
    huge = face(0, 40, 90, 240)
    assert largest_and_central([middle, huge], 280, 250) == middle
    assert largest_and_central([middle, huge], 150, 250) == huge


def test_of_no_faces_none_can_be_chosen():
    with pytest.raises(ValueError, match="0 faces"):
        largest_and_central([], 250, 250)
