"""Faces in pictures as a pipeline takes them: found, brought to a model's input, answered and named."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.engines import format_of
from facectl_runtime.errors import ImageError
from facectl_runtime.faces import detect, portrait, read
from facectl_runtime.faces.crop import crop, whole_as_face
from facectl_runtime.faces.detect import Face
from facectl_runtime.faces.read import Crops, Place, by_labels, by_people, crops, faces_in, infer
from facectl_runtime.faces.search import Templates
from facectl_runtime.output import About, write_csv, write_table
from facectl_runtime.rows import NO_NUMBERS, FaceAnswer, Match, Ranked, Row
from facectl_runtime.sources import Source
from facectl_runtime.spec import CenterCrop, InputSpec, Letterbox, Squash, Threshold

POINTS = ((21.88, 29.54), (42.02, 29.43), (32.01, 40.99), (23.74, 52.78), (40.42, 52.69))


def ramp(width=200, height=100):
    """Give a picture whose red says the column and whose green the row."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x, y, np.full_like(x, 9)], axis=-1).astype(np.uint8))


def square(*box):
    return Face(box, 0.9, ((0, 0),) * 5)


def corners(pixels):
    """Give (first column, first row, last column, last row) of the ramp that a crop shows."""
    return pixels[0, 0, 0], pixels[0, 0, 1], pixels[-1, -1, 0], pixels[-1, -1, 1]


# From a box to an input


@pytest.mark.parametrize("resize", [Squash(), CenterCrop(1.0), Letterbox()])
def test_the_square_around_a_box_is_seen(resize):
    pixels = crop(ramp(), square(60, 20, 100, 80), InputSpec(60, 60, resize))
    assert np.abs(np.subtract(corners(pixels), (50, 20, 109, 79))).max() <= 1


def test_what_a_centre_crop_cuts_out_is_the_box():
    pixels = crop(ramp(), square(60, 30, 100, 70), InputSpec(40, 40, CenterCrop(0.5)))
    assert np.abs(np.subtract(corners(pixels), (60, 30, 99, 69))).max() <= 1


def test_beyond_the_picture_it_is_black():
    pixels = crop(ramp(), square(0, 0, 20, 80), InputSpec(80, 80, Squash()))
    assert not pixels[:, :28].any()
    assert (pixels[:, 35:, 2] == 9).all()
    outside = crop(ramp(), square(190, 90, 200, 100), InputSpec(20, 20, CenterCrop(0.5)))
    assert (outside[:-2, :-2, 2] == 9).all()


def test_the_least_box_is_a_pixel():
    assert crop(ramp(), square(10.2, 10.2, 10.3, 10.3), InputSpec(4, 4, Squash())).shape == (4, 4, 3)


def test_a_face_is_aligned_by_its_landmarks(face_model):
    spec = format_of(face_model).read_spec(face_model).input
    moved = tuple((x + 30, y + 10) for x, y in POINTS)
    pixels = crop(ramp(), Face((40, 20, 80, 80), 0.9, moved), spec)
    assert np.abs(np.subtract(corners(pixels), (30, 10, 93, 73))).max() <= 1


def test_a_ready_crop_is_the_square_around_a_face_of_which_nothing_is_cut_off(make_embedder, tmp_path):
    model = make_embedder(tmp_path / "a.onnx")
    aligned = whole_as_face(ramp(), format_of(model).read_spec(model).input)
    assert np.abs(np.subtract(corners(aligned), (0, 0, 199, 99))).max() <= 2
    cropped = whole_as_face(ramp(), InputSpec(50, 50, CenterCrop(0.5)))
    assert np.abs(np.subtract(corners(cropped), (0, 0, 199, 99))).max() <= 2


def test_a_face_that_needs_more_than_the_picture_takes_no_more_memory():
    picture = Image.new("RGB", (900, 700), (200, 10, 10))
    face = Face((0.0, 0.0, 900.0, 700.0), 0.9, ((0.0, 0.0),) * 5)
    found = crop(picture, face, InputSpec(50, 50, CenterCrop(0.01)))
    assert found.shape == (50, 50, 3)
    inside = crop(
        picture, Face((300.0, 200.0, 500.0, 400.0), 0.9, ((0.0, 0.0),) * 5), InputSpec(50, 50, CenterCrop(0.2))
    )
    assert (inside[10:40, 10:40] == (200, 10, 10)).all()


# Names


@pytest.fixture
def three(colours):
    spec = colours.spec(threshold=Threshold(0.6, "max_probability", 0.01, 100, 0.02, 100))
    return by_labels(spec, 2)


def test_a_classifier_names_faces_or_says_unknown(three):
    sure, unsure = three(np.array([[0.1, 0.7, 0.2], [0.4, 0.35, 0.25]], np.float32))
    assert (sure.label, sure.similarity) == ("green", None)
    assert sure.top == (Ranked("green", 0.7), Ranked("blue", 0.2))
    assert (unsure.label, unsure.probability, unsure.top[0].label) == ("unknown", 0.4, "red")


def unit(*angles):
    return np.array([(np.cos(angle), np.sin(angle)) for angle in angles], np.float32)


def test_people_are_named_at_the_threshold_and_not_below():
    templates = Templates.of(["Anna", "Bert"], unit(0, 1.0, 1.2), [0, 1])
    (found,) = by_people(templates, float(np.float32(np.cos(0.25))), 5)(unit(0.25))
    assert found.label == "Anna"
    bert = Match("Bert", pytest.approx(np.cos(0.75), abs=1e-5))
    assert found.top == (Match("Anna", round(float(np.cos(0.25)), 6)), bert)
    above = float(np.nextafter(np.float32(found.similarity), np.float32(2))) + 1e-6
    assert by_people(templates, above, 1)(unit(0.25))[0].label == "unknown"
    assert by_people(templates, -1.0, 1)(unit(3.0))[0].label == "Bert"


def test_of_nobody_there_is_no_similarity():
    nobody = Templates.of([], np.empty((0, 2), np.float32), [])
    (found,) = by_people(nobody, -1.0, 3)(unit(1))
    assert (found.label, found.similarity, found.top) == ("unknown", None, ())


def test_no_cosine_is_above_one():
    templates = Templates.of(["Anna"], np.array([[1.0000002, 0]], np.float32), [0])
    assert by_people(templates, 0.5, 1)(np.array([[1.0000002, 0]], np.float32))[0].similarity == 1


# In a pipeline


class Counting:
    """An engine that gives the mean of each picture's red, and counts what it is given at once."""

    def __init__(self):
        self.given = []

    def infer(self, pixels):
        self.given.append(len(pixels))
        return pixels.reshape(len(pixels), -1)[:, :1].astype(np.float32)


def of(*values):
    places = [Place((0, 0, 1, 1), 0.9)] * len(values)
    return Crops(places, [np.full((2, 2, 3), value, np.uint8) for value in values])


def test_faces_of_several_pictures_are_answered_together_and_given_back_to_each():
    engine = Counting()
    answers = [answer.ravel().tolist() for _, answer in infer(engine, [of(1, 2), of(), of(3)])]
    assert answers == [[1, 2], [], [3]]
    assert engine.given == [3]


def test_a_crowd_is_answered_in_parts():
    engine = Counting()
    ((places, answers),) = infer(engine, [of(*range(70))])
    assert (len(places), answers.ravel().tolist()) == (70, list(range(70)))
    assert engine.given == [32, 32, 6]


def test_where_no_picture_has_a_face_the_engine_is_left_alone():
    engine = Counting()
    assert [len(places) for places, _ in infer(engine, [of(), of()])] == [0, 0]
    assert engine.given == []


def test_rows(colours, monkeypatch):
    monkeypatch.setattr(read, "shared_detector", lambda: None)
    reading = faces_in(InputSpec(2, 2, Squash()), by_labels(colours.spec(), 1))
    where = Row("a.png", frame=3)
    found = reading.say(where, ([Place((1.4, 2.6, 10.5, 20), 0.91234)], np.array([[0.1, 0.2, 0.7]], np.float32)))
    (face,) = found.faces
    assert (face.box, face.score, face.label, face.probability) == ((1, 3, 10, 20), 0.9123, "blue", 0.7)
    assert (found.frame, found.label, found.labels, found.error) == (3, None, ("blue",), None)
    nobody = reading.say(where, ([], np.empty((0, 0), np.float32)))
    assert (nobody.faces, nobody.labels) == ((), ())
    broken = reading.say(where, ([Place((0, 0, 1, 1), 1)], np.array([[np.nan, 0, 1]], np.float32)))
    assert (broken.error, broken.faces) == (NO_NUMBERS, None)
    people = faces_in(InputSpec(2, 2, Squash()), by_people(Templates.of(["Anna"], unit(0), [0]), 0.5, 1))
    long = people.say(where, ([Place((0, 0, 1, 1), 1)], 30 * unit(1.4)))
    assert (long.error, long.faces) == (NO_NUMBERS, None)


def test_one_detector_serves_a_reading_and_is_missed_at_once(monkeypatch):
    def missing():
        raise ImageError("not here")

    monkeypatch.setattr(read, "shared_detector", missing)
    with pytest.raises(ImageError):
        faces_in(InputSpec(2, 2, Squash()), None)
    faces_in(InputSpec(2, 2, Squash()), None, detect=False)


def test_a_picture_too_large_for_memory_is_an_error_of_its_own(monkeypatch):
    def full(_):
        raise MemoryError

    monkeypatch.setattr(read, "shared_detector", lambda: SimpleNamespace(detect=full))
    with pytest.raises(ImageError, match="memory"):
        crops(Source("a", ramp), InputSpec(2, 2, Squash()), detect=True)
    monkeypatch.setattr(portrait, "shared_detector", lambda: SimpleNamespace(detect=full))
    with pytest.raises(ImageError, match="cannot be read"):
        portrait.portrait(Source("a", None, "cannot be read"), InputSpec(2, 2, Squash()), detect=True)
    with pytest.raises(ImageError, match="a frame of a video; give photographs"):
        portrait.portrait(Source("a", ramp), InputSpec(2, 2, Squash()), detect=True)


def test_faces_found_are_brought_to_the_input_from_left_to_right(lfw, crowd):
    assert lfw
    found = crops(Source("crowd", crowd), InputSpec(24, 24, Squash()), detect=True)
    assert len(found.places) == len(found.pixels) >= 30
    assert [place.box[0] for place in found.places] == sorted(place.box[0] for place in found.places)
    assert {pixels.shape for pixels in found.pixels} == {(24, 24, 3)}
    one = crops(Source("crowd", crowd), InputSpec(24, 24, Squash()), detect=False)
    assert one.places == [Place((0, 0, 1500, 1250), 1.0)]
    assert detect.shared_detector() is detect.shared_detector()


# On paper


def test_a_name_with_a_newline_is_one_line():
    row = Row("a\nb.png", faces=(FaceAnswer((0, 0, 5, 6), 0.9, "Anna", similarity=0.5, top=(Match("Anna", 0.5),)),))
    about = About("m", ["Anna"], SimpleNamespace(name="e", device="cpu"), "cpu", 1, measure="similarity", faces=True)
    out = io.StringIO()
    write_table([row, Row("c.png", faces=())], about, out)
    assert out.getvalue() == "  0.500  Anna     a\\nb.png  5 × 6 at 0, 0\nno face  c.png\n"
    out = io.StringIO()
    write_csv([Row("c.png", faces=())], about, out)
    assert out.getvalue().splitlines()[1] == "c.png" + "," * 12 + ",m,e,cpu,cpu"
