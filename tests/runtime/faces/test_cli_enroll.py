"""`facectl faces enroll`, as a person meets it."""

import json
import os
import shutil
import signal
import time

import pytest
from PIL import Image, ImageFilter

from facectl_runtime.faces import detect


def enrolled(facectl, gallery):
    ran = facectl("faces", "list", gallery, "--json")
    return {one["name"]: one["photographs"] for one in ran.json()["people"]}


# Whom


def test_a_person_from_files(enroll, facectl, gallery, people, face_model):
    ran = enroll("Anna", people[0], people[1])
    assert (ran.code, ran.out.splitlines()) == (0, [f"Anna  {path}  added" for path in people[:2]])
    hint = f"next: facectl faces identify {gallery} IMAGE --model {face_model}"
    assert ran.err == f"2 photographs added; {gallery} has 1 person now; {hint}\n"
    assert enrolled(facectl, gallery) == {"Anna": 2}
    assert gallery.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("word", ["{}", "{}/*_0001.jpg", "{}/"])
def test_a_person_from_a_folder_and_by_a_pattern(enroll, facectl, gallery, several, word):
    person = sorted(several.iterdir())[0]
    assert enroll("Anna", word.format(person)).code == 0
    assert enrolled(facectl, gallery) == {"Anna": 1 if "*" in word else 2}


def test_a_face_that_was_cropped_otherwise_is_replaced(enroll, gallery, facectl, people):
    assert enroll("Anna", people[0], "--no-detect").code == 0
    ran = enroll("Anna", *people[:2])
    assert f"Anna  {people[0]}  replaced" in ran.out
    assert ran.err.startswith(f"1 photograph added, 1 replaced; {gallery} has 1 person now")
    assert enrolled(facectl, gallery) == {"Anna": 2}


def test_a_gallery_that_a_process_was_killed_over_before_anything_was_in_it(enroll, facectl, gallery, people):
    gallery.touch()
    assert enroll("Anna", people[0]).code == 0
    assert enrolled(facectl, gallery) == {"Anna": 1}


def test_pictures_beside_the_folders_of_people_are_said(enroll, facectl, gallery, several, people, tmp_path):
    data = shutil.copytree(several, tmp_path / "data")
    shutil.copy(people[0], data / "group.jpg")
    ran = enroll(data)
    assert ran.code == 0
    assert f"{data}: 1 image beside the folders of people, not enrolled: whose are they?" in ran.err
    assert len(enrolled(facectl, gallery)) == 12


def test_everyone_in_a_folder_of_folders(enroll, facectl, gallery, several):
    ran = enroll(several)
    assert ran.code == 0
    assert enrolled(facectl, gallery) == {person.name: 2 for person in several.iterdir()}
    assert ran.out.count("  added") == 24
    again = enroll(several)
    assert again.out.count("  already there") == 24
    assert again.err.startswith("0 photographs added; ")


def test_the_same_name_twice_is_the_same_person(enroll, facectl, gallery, people):
    for path in people[:2]:
        assert enroll("Zoë", path).code == 0
    assert enroll("Zoe\u0308", people[2]).code == 0  # as a Mac writes it
    assert enrolled(facectl, gallery) == {"Zoë": 3}


def test_a_photograph_of_somebody_else_is_said(enroll, facectl, gallery, people):
    enroll("Anna", people[0])
    ran = enroll("Bert", people[0])
    assert ran.code == 0
    assert ran.out == f"Bert  {people[0]}  added; the same photograph is enrolled as Anna too\n"
    assert enrolled(facectl, gallery) == {"Anna": 1, "Bert": 1}


def test_without_a_threshold_the_next_step_is_to_find_one(enroll, people, crop_model):
    ran = enroll("Anna", people[0], model=crop_model)
    assert ran.err.endswith(f"next: facectl faces calibrate {crop_model} --data PHOTOS\n")


def test_json(facectl, gallery, people, grey, face_model):
    ran = facectl("faces", "enroll", gallery, "Anna", people[0], grey, "--model", face_model, "--json")
    assert ran.code == 3
    document = ran.json()
    added, error = document["results"]
    assert document["gallery"] == str(gallery)
    assert added == {"name": "Anna", "source": str(people[0]), "outcome": "added"}
    assert error == {"name": "Anna", "source": str(grey), "outcome": "error", "error": error["error"]}
    assert error["error"].startswith("no face was found in it; ")


def test_quiet_says_what_went_wrong_alone(facectl, gallery, people, grey, face_model):
    ran = facectl("faces", "enroll", gallery, "Anna", people[0], grey, "--model", face_model, "--quiet")
    assert (ran.code, ran.err) == (3, "")
    assert ran.out.startswith(f"Anna  {grey}  error: no face")
    assert ran.out.count("\n") == 1


# What is on the photographs


def test_without_a_face_it_is_said_and_the_others_are_enrolled(enroll, facectl, gallery, people, grey, tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    ran = enroll("Anna", grey, tmp_path / "one.png", "missing.jpg", people[0])
    assert ran.code == 3
    assert [line.split("  ")[2].partition(";")[0] for line in ran.out.splitlines()] == [
        "error: no face was found in it",
        "error: no face was found in it",
        "error: cannot be read: No such file or directory",
        "added",
    ]
    assert enrolled(facectl, gallery) == {"Anna": 1}


@pytest.mark.usefixtures("lfw")
def test_where_nobody_is_enrolled_nothing_is_suggested(enroll, gallery, grey):
    ran = enroll("Anna", grey)
    assert (ran.code, ran.err) == (3, f"0 photographs added; {gallery} has 0 people now\n")


def beside(path, one, other, side):
    """Paste two photographs beside one another, the second one scaled to `side`."""
    picture = Image.new("RGB", (250 + side, 250))
    picture.paste(Image.open(one), (0, 0))
    picture.paste(Image.open(other).resize((side, side)), (250, 0))
    picture.save(path)
    return path


def test_several_faces_are_said_and_the_largest_is_taken(enroll, people, tmp_path):
    ran = enroll("Anna", beside(tmp_path / "two.png", people[0], people[1], 250))
    assert (ran.code, ran.err.startswith("1 photograph added; ")) == (0, True)
    assert ran.out.endswith("added; it shows 2 faces; the largest and most central was taken\n")


def test_a_bystander_is_not_said(enroll, people, tmp_path):
    assert enroll("Anna", beside(tmp_path / "two.png", people[0], people[1], 100)).out.endswith("  added\n")


@pytest.mark.parametrize(("side", "said"), [(80, "the face is tiny, 4"), (250, None)], ids=["tiny", "large"])
def test_a_tiny_face_is_said(enroll, people, tmp_path, side, said):
    Image.open(people[0]).resize((side, side), Image.Resampling.LANCZOS).save(tmp_path / "a.png")
    ran = enroll("Anna", tmp_path / "a.png")
    assert ran.code == 0
    assert ("; 48 or more tell people apart better" in ran.out) == bool(said)
    assert (said or "added") in ran.out


def test_a_blurred_face_is_said(enroll, people, tmp_path):
    Image.open(people[0]).filter(ImageFilter.GaussianBlur(8)).save(tmp_path / "a.png")
    ran = enroll("Anna", tmp_path / "a.png")
    assert ran.code == 0
    assert "added; the face is blurred (0." in ran.out
    assert "blurred" not in enroll("Anna", people[0]).out


def test_json_has_warnings_and_stderr_too(facectl, gallery, people, tmp_path, face_model):
    Image.open(people[0]).resize((80, 80)).save(tmp_path / "a.png")
    ran = facectl("faces", "enroll", gallery, "Anna", tmp_path / "a.png", "--model", face_model, "--json")
    (row,) = ran.json()["results"]
    assert ran.err.splitlines()[0] == f"facectl: {tmp_path / 'a.png'}: {row['warnings'][0]}"


def test_ready_crops_are_taken_whole(facectl, gallery, grey, people, face_model, monkeypatch, tmp_path):
    monkeypatch.setattr(detect, "locate", None)  # nothing is looked for
    words = ["faces", "enroll", gallery, "Anna", grey, people[0], "--model", face_model, "--no-detect"]
    ran = facectl(*words)
    assert (ran.code, ran.out.count("  added\n")) == (0, 2)
    Image.open(people[1]).resize((20, 20)).save(tmp_path / "tiny.png")
    ran = facectl("faces", "enroll", gallery, "Bert", tmp_path / "tiny.png", "--model", face_model, "--no-detect")
    assert (ran.code, "added; the face is tiny, 20 pixels" in ran.out) == (0, True)


# Names


def test_names_of_any_script_and_odd_ones(facectl, gallery, people, face_model):
    names = ["李", "Ann-Sofie O'Brien", "--model", "a/b", "🦊"]
    for name, path in zip(names, people, strict=False):
        assert facectl("faces", "enroll", "--model", face_model, "--", gallery, name, path).code == 0
    assert set(enrolled(facectl, gallery)) == set(names)
    assert facectl("faces", "remove", "--", gallery, "--model").out == "--model is removed, with 1 photograph\n"


# Ended in the middle

SLOW = """
from facectl_runtime.faces import enroll
first = enroll.portrait
def slow(source, *words, **more):
    found = first(source, *words, **more)
    if source.name.endswith("-2.jpg"):
        import time; time.sleep(600)
    return found
enroll.portrait = slow
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_what_was_reported_stays_when_it_is_interrupted(start, facectl, gallery, people, tmp_path, face_model, form):
    for number in range(3):
        shutil.copy(people[number], tmp_path / f"a-{number}.jpg")
    process = start("faces", "enroll", gallery, "Anna", tmp_path, "--model", face_model, *form, prepare=SLOW)
    until = time.monotonic() + 30
    while not gallery.exists() or not gallery.stat().st_size or enrolled(facectl, gallery) != {"Anna": 2}:
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    kept = f"stopped: 2 photographs added, and kept in {gallery}; run it again for the others"
    assert (process.returncode, err.splitlines()[-2:]) == (130, [kept, "facectl: interrupted"])
    said = len(json.loads(out)["results"]) if form else out.count("  added\n")
    assert enrolled(facectl, gallery) == {"Anna": said}
    assert said == 2
