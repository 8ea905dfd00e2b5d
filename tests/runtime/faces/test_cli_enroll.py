"""`facectl faces enroll`, as a person meets it."""

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from facectl_runtime.faces import detect
from facectl_runtime.faces.gallery import Gallery


@pytest.fixture
def gallery(tmp_path):
    return tmp_path / "family.gallery"


@pytest.fixture
def enroll(facectl, gallery, face_model):
    """Give a function that enrols with the model that aligns faces."""
    return lambda *words, model=face_model: facectl("faces", "enroll", gallery, *words, "--model", model)


def enrolled(facectl, gallery):
    ran = facectl("faces", "list", gallery, "--json")
    return {one["name"]: one["photographs"] for one in ran.json()["people"]}


def sql(file, statement):
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute(statement)


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


def test_folders_without_a_name_before_them_are_nobody(enroll, gallery, several, monkeypatch):
    folders = sorted(several.iterdir())
    assert len(folders) > 1
    said = f"{folders[0]}: a folder, and not a name; give the one folder that has a folder a person, or the name first"
    for words in (folders, [folders[0], next(folders[1].iterdir())]):
        ran = enroll(*words)
        assert (ran.code, ran.error().startswith(said)) == (2, True)
    monkeypatch.chdir(several)
    ran = enroll(*(folder.name for folder in folders))
    assert (ran.code, "a folder, and not a name" in ran.error()) == (2, True)
    assert not gallery.exists()
    assert enroll(folders[0].name, folders[0].name).code == 0  # the name, and the folder of that name
    assert enroll(folders[0].name, *folders[0].iterdir()).code == 0


def test_a_face_that_was_cropped_otherwise_is_replaced(enroll, gallery, facectl, people):
    assert enroll("Anna", people[0], "--no-detect").code == 0
    ran = enroll("Anna", *people[:2])
    assert f"Anna  {people[0]}  replaced" in ran.out
    assert ran.err.startswith(f"1 photograph added, 1 replaced; {gallery} has 1 person now")
    assert enrolled(facectl, gallery) == {"Anna": 2}


def test_the_parts_of_a_split_are_nobody(enroll, gallery, several, tmp_path):
    for part in ("train", "val", "test"):
        shutil.copytree(several, tmp_path / "split" / part)
    ran = enroll(tmp_path / "split")
    said = f"{tmp_path / 'split'}: its folders are train, val, test, and not people; give one of them"
    assert (ran.code, ran.error(), gallery.exists()) == (2, said, False)


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


def test_a_photograph_in_place_of_the_name_is_refused(enroll, gallery, people):
    ran = enroll(people[0], people[1])
    assert ran.code == 2
    assert "a photograph, and not a name; give the name first" in ran.error()
    assert not gallery.exists()


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\nb", r"the name 'a\nb' has characters that cannot be printed"),
        ("x" * 10_000, "has 10,000 characters; at most 200 are allowed; shorten it"),
        ("", "the name is empty; give one of 1 to 200 characters"),
        ("unknown", "the name 'unknown' is the answer to strangers; give another"),
        ("Unknown", "the name 'Unknown' is the answer to strangers"),
        (" Anna", "has blanks at its ends"),
    ],
)
def test_what_is_no_name_is_refused_before_anything_is_done(enroll, gallery, grey, name, said):
    ran = enroll(name, grey)
    assert ran.code == 2
    assert said in ran.error()
    assert len(ran.err) < 200
    assert not gallery.exists()


def test_a_folder_of_a_name_that_is_none_is_refused_before_anything_is_done(enroll, gallery, several, tmp_path):
    shutil.copytree(several, tmp_path / "all")
    sorted((tmp_path / "all").iterdir())[-1].rename(tmp_path / "all" / "unknown")
    ran = enroll(tmp_path / "all")
    assert (ran.code, "'unknown' is the answer to strangers" in ran.error()) == (2, True)
    assert not gallery.exists()


def test_names_of_any_script_and_odd_ones(facectl, gallery, people, face_model):
    names = ["李", "Ann-Sofie O'Brien", "--model", "a/b", "🦊"]
    for name, path in zip(names, people, strict=False):
        assert facectl("faces", "enroll", "--model", face_model, "--", gallery, name, path).code == 0
    assert set(enrolled(facectl, gallery)) == set(names)
    assert facectl("faces", "remove", "--", gallery, "--model").out == "--model is removed, with 1 photograph\n"


# What is typed wrong


def test_a_name_alone_is_no_photograph(enroll, several):
    ran = enroll("Anna")
    assert ran.code == 2
    assert ran.error() == "photographs of 'Anna'? give NAME IMAGE..., or one folder that has a folder a person"
    ran = enroll(several / "nobody")
    assert (ran.code, ran.error().startswith(f"{several / 'nobody'}: no such folder; give ")) == (2, True)
    folder = sorted(several.iterdir())[0]
    ran = enroll(folder)
    assert ran.code == 2
    assert (
        ran.error() == f"{folder}: it has no folder a person; to enrol one person, give the name first: NAME {folder}"
    )


def test_a_video_is_no_photograph(enroll, gallery, grey, tmp_path):
    for word in (tmp_path / "film.mp4", "*.MOV"):
        ran = enroll("Anna", grey, word)
        assert ran.code == 2
        assert ran.error() == f"{word}: a video; people are enrolled from photographs, such as frames of it"
    assert not gallery.exists()


def test_a_model_is_needed_and_the_environment_may_name_it(facectl, gallery, people, face_model, monkeypatch):
    monkeypatch.delenv("FACECTL_FACE_MODEL", raising=False)
    ran = facectl("faces", "enroll", gallery, "Anna", people[0])
    assert ran.code == 2
    assert "Missing option '--model' (env var: 'FACECTL_FACE_MODEL')" in ran.error()
    monkeypatch.setenv("FACECTL_FACE_MODEL", str(face_model))
    assert facectl("faces", "enroll", gallery, "Anna", people[0]).code == 0


def test_a_classifier_is_no_model_of_faces(enroll, gallery, people, model):
    ran = enroll("Anna", people[0], model=model)
    assert ran.code == 4
    assert "its task is classify; faces are compared by a model whose task is embed" in ran.error()
    assert not gallery.exists()


def test_without_the_detectors_weights_it_is_said_before_anything_is_done(enroll, gallery, grey, monkeypatch, tmp_path):
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(tmp_path))
    detect._shared.cache_clear()
    ran = enroll("Anna", grey)
    assert ran.code == 2
    assert "was not found: run facectl weights pull yunet" in ran.error()
    assert not gallery.exists()


# Galleries that cannot be used


@pytest.mark.usefixtures("lfw")
@pytest.mark.parametrize("command", ["enroll", "identify"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: sql(path, "UPDATE gallery SET embedding_id = 'other/x'"), "belongs to the model 'other/x'"),
        (lambda path: sql(path, "PRAGMA user_version = 2"), "version 2 and this facectl reads 1; upgrade"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "the gallery is damaged"),
        (lambda path: path.write_text("no gallery"), "not a gallery; give the file that facectl faces enroll made"),
        (lambda path: (path.unlink(), path.mkdir()), "a folder; a gallery is the file that"),
    ],
    ids=["other model", "later", "damaged", "text", "folder"],
)
def test_a_gallery_that_cannot_be_used_is_one_line(enroll, facectl, gallery, grey, face_model, spoil, said, command):
    with Gallery.open(gallery, "faces/projected", 32, write=True):
        pass
    spoil(gallery)
    ran = (
        enroll("Anna", grey)
        if command == "enroll"
        else facectl("faces", "identify", gallery, grey, "--model", face_model)
    )
    assert ran.code == 2
    assert ran.error().startswith(f"{gallery}: ")
    assert said in ran.error()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_gallery_that_may_not_be_written(facectl, people, nobody, part, face_model):
    with tempfile.TemporaryDirectory() as name:  # what pytest gives is for its user alone
        folder, file = Path(name), Path(name, "a.gallery")
        model = shutil.copy(face_model, folder)
        assert facectl("faces", "enroll", file, "Anna", people[0], "--model", model).code == 0
        file.chmod(0o444)
        folder.chmod(0o777 if part == "file" else 0o555)
        with nobody():
            ran = facectl("faces", "enroll", file, "Bert", people[1], "--model", model)
            found = facectl("faces", "identify", file, people[0], "--model", model, "--json")
        folder.chmod(0o700)
    assert ran.code == 2
    assert ran.error().startswith(f"{file}: cannot be ")
    assert [face["label"] for row in found.json()["results"] for face in row["faces"]] == ["Anna"]


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
