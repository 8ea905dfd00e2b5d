"""Faces are found where they are: the decoding by hand-made numbers, the whole by photographs."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Barrier

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.errors import ImageError, ModelError, UsageError
from facectl_runtime.faces import detect
from facectl_runtime.faces.detect import DETECTOR, Candidates, Detector, Face, largest_and_central, locate

SHARED = Path(__file__).parents[4] / "shared"
LFW = Path(os.environ.get("FACECTL_TEST_DATA", SHARED / "data")) / "lfw"
WEIGHTS = Path(os.environ.get("FACECTL_WEIGHTS_DIR", SHARED / "weights")) / DETECTOR.file
CPU = Device("cpu", threads=1)
POINTS = ((0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75))


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


# The file of weights


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Make the two folders where weights are looked for, empty."""
    chosen, own = tmp_path / "chosen", tmp_path / "home" / "weights"
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(chosen))
    monkeypatch.setenv("FACECTL_HOME", str(own.parent))
    chosen.mkdir()
    own.mkdir(parents=True)
    return chosen, own


@pytest.fixture
def pinned(monkeypatch):
    """Pin the content `right` in the place of YuNet's."""
    digest = "8fae2fd0afba65b89afc5d81af3f4d2c7b6bf7d0e39ef0c2e9fb2b6a1a5d1e53"
    monkeypatch.setattr(detect, "content_hash", lambda path: digest if path.read_text() == "right" else "0" * 64)
    monkeypatch.setattr(detect, "DETECTOR", msgspec.structs.replace(DETECTOR, sha256=digest))


@pytest.mark.usefixtures("pinned")
def test_weights_are_taken_from_the_folder_named_and_then_from_facectls_own(folders):
    chosen, own = (folder / DETECTOR.file for folder in folders)
    own.write_text("right")
    assert locate() == own
    chosen.write_text("right")
    assert locate() == chosen


def test_weights_that_are_missing_are_said_in_a_line_that_helps(folders, monkeypatch):
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR")
    with pytest.raises(UsageError) as caught:
        locate()
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"{DETECTOR.file} was not found: run facectl weights pull yunet, or put it into {folders[1]} or into the "
        "folder that FACECTL_WEIGHTS_DIR names"
    )


@pytest.mark.usefixtures("pinned")
def test_weights_of_other_content_are_refused_even_where_a_right_file_lies_behind(folders):
    chosen, own = (folder / DETECTOR.file for folder in folders)
    chosen.write_text("wrong")
    own.write_text("right")
    with pytest.raises(UsageError, match=r"damaged or another version: .*its digest is sha256:0{12}…") as caught:
        locate()
    assert caught.value.exit_code == 5
    assert str(chosen) in str(caught.value)


def test_weights_that_cannot_be_read_are_said(folders, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (folders[0] / DETECTOR.file).touch()
    monkeypatch.setattr(detect, "content_hash", refuse)
    with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)") as caught:
        locate()
    assert caught.value.exit_code == 5


# A network with YuNet's inputs and outputs that takes a red cell of 32 × 32 pixels for a face


def red_cells(path, last="Identity", side=32):
    nodes, given = [helper.make_node("Slice", ["input", "two", "three", "one"], ["red"])], []
    for stride in (8, 16, 32):
        sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["red"], [f"mean_{stride}"], **sides),
            helper.make_node("Reshape", [f"mean_{stride}", "row"], [f"row_{stride}"]),
            helper.make_node("Mul", [f"row_{stride}", "most" if stride == 32 else "zero"], [f"cls_{stride}"]),
            helper.make_node(last, [f"cls_{stride}"], [f"obj_{stride}"]),
            helper.make_node("Mul", [f"row_{stride}", "zero"], [f"zeros_{stride}"]),
            helper.make_node("Add", [f"zeros_{stride}", "box"], [f"bbox_{stride}"]),
            helper.make_node("Add", [f"zeros_{stride}", "points"], [f"kps_{stride}"]),
        ]
        given += [
            helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, [1, "N", size])
            for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        ]
    constants = {
        **{name: np.array([value]) for name, value in (("one", 1), ("two", 2), ("three", 3))},
        **{name: np.array([value], np.float32) for name, value in (("most", 1 / 255), ("zero", 0))},
        "row": np.array([1, -1, 1]),
        "box": np.array([0.5, 0.5, np.log(side / 32), np.log(side / 32)], np.float32),
        "points": np.array(POINTS, np.float32).ravel(),
    }
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "red", [pixels], given, weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.fixture(scope="module")
def finds_red(tmp_path_factory):
    return Detector(red_cells(tmp_path_factory.mktemp("red") / "red.onnx"), CPU)


def square(colour, left, upper, side, size):
    picture = Image.new("RGB", size)
    picture.paste(colour, (left, upper, left + side, upper + side))
    return picture


@pytest.mark.parametrize(
    ("size", "left", "upper", "side"),
    [
        ((320, 240), 160, 64, 32),
        ((640, 480), 320, 64, 32),
        ((160, 120), 80, 32, 16),
        ((1920, 1440), 480, 96, 48),
        ((2560, 1920), 640, 128, 64),
    ],
)
def test_places_are_in_pixels_of_the_picture_whatever_its_size(finds_red, size, left, upper, side):
    (found,) = finds_red.detect(square("red", left, upper, side, size))
    assert found.box == pytest.approx((left, upper, left + side, upper + side), abs=1e-3)
    expected = [value for x, y in POINTS for value in (left + x * side, upper + y * side)]
    assert np.ravel(found.landmarks) == pytest.approx(expected, abs=1e-3)
    assert found.score == pytest.approx(1, abs=0.05)  # the filter blurs its border


@pytest.mark.parametrize(("red", "faces"), [(170, 0), (190, 1)])
def test_what_scores_below_0_7_is_no_face(finds_red, red, faces):
    assert len(finds_red.detect(square((red, 0, 0), 320, 64, 32, (640, 480)))) == faces


def test_a_face_that_is_large_for_a_level_is_left_to_the_next(tmp_path):
    detector = Detector(red_cells(tmp_path / "large.onnx", side=384), CPU)
    (found,) = detector.detect(square("red", 128, 128, 64, (320, 320)))  # four cells, and one at half the size
    assert np.ravel(found.landmarks) == pytest.approx([128 + 64 * value for point in POINTS for value in point])


@pytest.mark.parametrize("colour", ["blue", "lime"])
def test_colours_are_not_swapped(finds_red, colour):
    assert finds_red.detect(square(colour, 320, 64, 32, (640, 480))) == []


def test_an_array_is_as_good_as_a_picture(finds_red):
    picture = square("red", 320, 64, 32, (640, 480))
    assert len(finds_red.detect(picture)) == 1
    assert finds_red.detect(np.asarray(picture)) == finds_red.detect(picture)


@pytest.mark.parametrize(
    "bad",
    [
        Image.new("L", (64, 64)),
        Image.new("RGB", (0, 5)),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros(0, np.uint8),
    ],
    ids=lambda bad: str(bad.size if isinstance(bad, Image.Image) else bad.shape),
)
def test_what_is_no_rgb_picture_is_refused(finds_red, bad):
    with pytest.raises(ImageError, match="RGB is needed"):
        finds_red.detect(bad)


def test_numbers_that_are_not_finite_are_no_answer(tmp_path):
    broken = Detector(red_cells(tmp_path / "broken.onnx", last="Log"), CPU)  # of 0
    with pytest.raises(ModelError, match=r"broken\.onnx: .*not finite"):
        broken.detect(Image.new("RGB", (64, 64)))


def test_another_network_is_refused(model):
    with pytest.raises(ModelError, match=r"colours\.onnx: ONNX Runtime fails on it"):
        Detector(model, CPU).detect(Image.new("RGB", (64, 64)))


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match=r"text\.onnx: ONNX Runtime cannot load it"):
        Detector(tmp_path / "text.onnx", CPU)


def test_threads_that_ask_at_once_share_one_detector(tmp_path, monkeypatch):
    path, opened, barrier = red_cells(tmp_path / "red.onnx"), Counter(), Barrier(8)

    def found():
        opened["times"] += 1
        return path

    def ask(_):
        barrier.wait(10)
        return detect.shared_detector()

    monkeypatch.setattr(detect, "locate", found)
    detect._shared.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        detectors = set(pool.map(ask, range(8)))
    detect._shared.cache_clear()
    assert len(detectors) == 1
    assert opened["times"] == 1


@pytest.mark.usefixtures("folders")
def test_a_shared_detector_that_could_not_be_opened_is_tried_again(monkeypatch, tmp_path):
    detect._shared.cache_clear()
    with pytest.raises(UsageError, match="not found"):
        detect.shared_detector()
    monkeypatch.setattr(detect, "locate", lambda: red_cells(tmp_path / "red.onnx"))
    assert isinstance(detect.shared_detector(), Detector)
    detect._shared.cache_clear()


# YuNet itself, on photographs


@pytest.fixture(scope="module")
def yunet():
    if not WEIGHTS.is_file():
        pytest.skip(f"no {WEIGHTS}; name its folder in FACECTL_WEIGHTS_DIR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECTL_WEIGHTS_DIR", str(WEIGHTS.parent))
        return Detector(locate(), CPU)


@cache
def people(count=60):
    files = sorted(LFW.glob("*/*_0001.jpg"))
    if len(files) < 1000:
        pytest.skip(f"no photographs under {LFW}; name the folder of the data in FACECTL_TEST_DATA")
    return [Image.open(file).convert("RGB") for file in files[:: len(files) // count][:count]]


def portrait(detector, picture):
    return largest_and_central(detector.detect(picture), *picture.size)


@pytest.mark.usefixtures("yunet")
def test_the_file_is_the_one_that_is_pinned():
    assert WEIGHTS.stat().st_size == DETECTOR.size


def test_no_portrait_is_missed_and_its_landmarks_are_those_of_a_face(yunet):
    for picture in people():
        found = portrait(yunet, picture)
        left, upper, right, lower = found.box
        assert np.hypot((left + right) / 2 - 125, (upper + lower) / 2 - 125) < 25
        assert 60 < lower - upper < 150
        (right_eye, left_eye, nose, right_mouth, left_mouth) = found.landmarks
        assert left < right_eye[0] < left_eye[0] < right
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_a_picture_and_its_mirror_image_agree(yunet):
    """Points that were half a pixel off would be so in both, and their x then differ by a pixel or more."""

    def points(picture, left, upper):  # each face among cells of its own
        ground = Image.new("RGB", (320, 320))
        ground.paste(picture, (left, upper))
        return np.subtract(portrait(yunet, ground).landmarks, (left, upper))

    off = []
    for number, picture in enumerate(people()):
        picture = picture.resize((200, 200))
        one = points(picture, number * 7 % 64 + 28, number * 13 % 64 + 28)
        other = points(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), number * 11 % 64 + 28, number * 5 % 64 + 28)
        off.append(one - np.abs([(200, 0)] - other)[[1, 0, 2, 4, 3]])
    assert np.abs(off).mean() < 2
    assert np.abs(np.mean(off, axis=(0, 1))).max() < 0.6


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (1000, 1000), (3000, 3000)])
def test_a_face_is_found_at_the_same_place_at_every_size(yunet, size):
    for picture in people()[:5]:
        known, found = portrait(yunet, picture), portrait(yunet, picture.resize(size))
        assert np.abs(np.multiply(found.landmarks, 250 / size[0]) - known.landmarks).max() < 10


def test_thirty_faces_are_found(yunet):
    group = Image.new("RGB", (1500, 1250))
    for number, picture in enumerate(people()[:30]):
        group.paste(picture, (number % 6 * 250, number // 6 * 250))
    for size in ((700, 583), (1500, 1250), (4000, 3333)):
        found = yunet.detect(group.resize(size))
        scale = 1500 / size[0]
        centres = [((f.box[0] + f.box[2]) / 2 * scale, (f.box[1] + f.box[3]) / 2 * scale) for f in found]
        tiles = {(int(x // 250), int(y // 250)) for x, y in centres if np.hypot(x % 250 - 125, y % 250 - 125) < 30}
        assert len(tiles) == 30
        assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)


def test_a_face_that_fills_a_photograph_is_one_face(yunet):
    for picture in people()[:5]:
        closeup = picture.crop((65, 60, 185, 200)).resize((2400, 2800))
        (found,) = yunet.detect(closeup)
        assert found.box[3] - found.box[1] > 1400


def test_at_the_border_boxes_are_cut_and_landmarks_are_not(yunet):
    """YuNet draws points into the picture; of most faces that are cut well behind the eye it still lies outside."""
    outside = 0
    for picture in people()[:20]:
        cut = round(portrait(yunet, picture).landmarks[0][0] + 15)
        found = portrait(yunet, picture.crop((cut, 0, 250, 250)))
        assert found.box[0] >= 0
        outside += found.landmarks[0][0] < 0 == found.box[0]
    assert outside > 10


RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(200, axis=0)
NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1, 1), "white"),
        Image.new("RGB", (1, 5000), "white"),
        Image.new("RGB", (500, 400)),
        RAMP,
        NOISE,
    ],
    ids=["one pixel", "a line", "black", "a ramp", "noise"],
)
def test_where_no_face_is_none_is_found(yunet, picture):
    assert yunet.detect(picture) == []


def test_threads_get_the_answers_that_one_gets(yunet):
    alone = [yunet.detect(picture) for picture in people()[:8]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(yunet.detect, people()[:8] * 3)) == alone * 3
