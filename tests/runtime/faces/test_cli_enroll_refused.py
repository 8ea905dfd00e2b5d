"""`facectl faces enroll`: what is refused, before anything is done."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from facectl_runtime.faces import detect
from facectl_runtime.faces.gallery import Gallery
from galleries import sql

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


def test_the_parts_of_a_split_are_nobody(enroll, gallery, several, tmp_path):
    for part in ("train", "val", "test"):
        shutil.copytree(several, tmp_path / "split" / part)
    ran = enroll(tmp_path / "split")
    said = f"{tmp_path / 'split'}: its folders are train, val, test, and not people; give one of them"
    assert (ran.code, ran.error(), gallery.exists()) == (2, said, False)


def test_a_photograph_in_place_of_the_name_is_refused(enroll, gallery, people):
    ran = enroll(people[0], people[1])
    assert ran.code == 2
    assert "a photograph, and not a name; give the name first" in ran.error()
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
