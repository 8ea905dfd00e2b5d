"""Galleries: what is enrolled comes back, and what is no gallery, or a damaged one, is said in a line."""

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facectl_runtime.errors import FacectlError, UsageError
from facectl_runtime.faces.gallery import Added, Gallery, Person, checked_name
from galleries import MODEL, SIZE, big, digest, names, nobody, sql, unit, write


def test_what_is_enrolled_comes_back_person_by_person(full):
    with Gallery.open(full, MODEL, SIZE) as gallery:
        assert (gallery.embedding_id, gallery.size) == (MODEL, SIZE)
        assert [(person.name, person.photographs) for person in gallery.people()] == [("Ann", 1), ("Zoë", 3)]
        templates = gallery.templates()
        assert templates.names == ("Ann", "Zoë")
        assert templates.starts.tolist() == [0, 1]
        assert templates.rows.dtype == np.float32
        expected = np.stack([unit(1, number) for number in (1, 0, 2, 3)])
        np.testing.assert_array_equal(templates.rows, expected)
        mean = gallery.templates("mean")
        assert (mean.names, mean.starts.tolist()) == (("Ann", "Zoë"), [0, 1])
        wanted = expected[1:].mean(axis=0)
        np.testing.assert_allclose(mean.rows, [unit(1, 1), wanted / np.linalg.norm(wanted)], atol=1e-6)


def test_a_photograph_is_recorded_with_its_name_digest_and_time(file):
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with write(file) as gallery:
        gallery.add("Ann", unit(1), "bad\udce9.jpg", digest("a"))
        gallery.add("Ann", unit(0, 1), "b.jpg", digest("b"))
        first = gallery.people()[0].first_enrolled
        assert gallery.people() == [Person("Ann", 2, first)]
    rows = sql(file, "SELECT source, hex(content), enrolled FROM photographs")
    assert [row[:2] for row in rows] == [("bad�.jpg", digest("a").upper()), ("b.jpg", digest("b").upper())]
    assert before <= first == rows[0][2] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def test_the_same_face_of_the_same_photograph_is_kept_once_a_person(full):
    with write(full) as gallery:
        again = unit(1, 0.05)  # what another precision of the model makes of it
        assert gallery.add("Zoë", again, "copy.jpg", digest(0)) == Added("already there", ())
        assert gallery.add("Zoë", unit(0, 0, 1), "0.jpg", digest(0)) == Added("added", ())  # another face
        assert gallery.add("Zoë", unit(1), "new.jpg", digest("new")) == Added("added", ())
        assert gallery.add("Ann", unit(0, 1), "0.jpg", digest(0)) == Added("added", ("Zoë",))
        assert gallery.add("Bob", unit(0, 0, 0, 1), "0.jpg", digest(0)) == Added("added", ("Ann", "Zoë"))
        assert gallery.add("Ann", unit(0, 1), "0.jpg", digest(0)) == Added("already there", ("Bob", "Zoë"))
    assert names(full) == {"Ann": 2, "Bob": 1, "Zoë": 5}


def test_a_name_is_the_same_however_its_letters_are_composed(file):
    with write(file) as gallery:
        gallery.add("Zo\u00eb", unit(1), "a.jpg", digest("a"))
        gallery.add("Zoe\u0308", unit(0, 1), "b.jpg", digest("b"))
        assert names(file) == {"Zo\u00eb": 2}
        assert gallery.remove("Zoe\u0308") == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is empty"),
        (" ", "blanks at its ends"),
        ("Ann ", "blanks at its ends"),
        ("\tAnn", "cannot be printed"),
        ("Ann\nBob", "cannot be printed"),
        ("Ann\0", "cannot be printed"),
        ("Ann\u202e", "cannot be printed"),
        ("\udce9", "cannot be printed"),
        ("a" * 201, "201 characters; at most 200"),
        ("a" * 10_000, "10,000 characters"),
        ("unknown", "answer to strangers"),
        ("Unknown", "answer to strangers"),
    ],
)
def test_what_is_not_a_name_is_refused_in_one_short_line(file, name, said):
    with write(file) as gallery, pytest.raises(UsageError, match=said) as raised:
        gallery.add(name, unit(1), "a.jpg", digest("a"))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200
    assert names(file) == {}


@pytest.mark.parametrize(
    "name", ["Ann", "a", "a" * 200, "O'Neil; DROP TABLE people", "李小龍", "🙂", "-x", "../a", "%s"]
)
def test_every_other_name_is_kept_as_it_is(file, name):
    assert checked_name(name) == name
    with write(file) as gallery:
        gallery.add(name, unit(1), name, digest("a"))
        assert gallery.templates().names == (name,)
        assert gallery.remove(name) == 1
        assert gallery.people() == []


@pytest.mark.parametrize(
    ("embedding", "said"),
    [
        (unit(1)[:7], "shape"),
        (unit(1)[None], "shape"),
        (unit(1) * 1.002, "norm 1.002"),
        (np.zeros(SIZE), "norm 0"),
        (np.full(SIZE, np.nan), "norm nan"),
        (np.array([np.inf, *[0] * 7]), "norm inf"),
    ],
)
def test_what_is_not_an_embedding_is_refused(file, embedding, said):
    with write(file) as gallery:
        with pytest.raises(ValueError, match=said):
            gallery.add("Ann", embedding, "a.jpg", digest("a"))
        with pytest.raises(ValueError, match="SHA-256"):
            gallery.add("Ann", unit(1), "a.jpg", "abc")
        gallery.add("Ann", unit(1).astype(np.float64) * 1.0005, "a.jpg", digest("a"))


def test_an_unknown_name_is_not_removed_and_a_near_one_is_named(full):
    with write(full) as gallery:
        with pytest.raises(UsageError, match="nobody is called 'Zoe'; did you mean 'Zoë'"):
            gallery.remove("Zoe")
        with pytest.raises(UsageError) as raised:
            gallery.remove("a\n" * 5000)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300
    assert names(full) == {"Ann": 1, "Zoë": 3}


def test_a_gallery_without_people_has_templates(file):
    with write(file) as gallery:
        for kind in ("all", "mean"):
            assert gallery.templates(kind).columns.shape == (SIZE, 0)
            assert gallery.templates(kind).names == ()


def test_photographs_that_are_opposites_have_no_mean(file):
    with write(file) as gallery:
        gallery.add("Ann", unit(1), "a.jpg", digest("a"))
        gallery.add("Ann", unit(-1), "b.jpg", digest("b"))
        with pytest.raises(UsageError, match="'Ann' are opposites"):
            gallery.templates("mean")


def test_a_gallery_of_another_model_is_refused_with_both_names(full):
    before = full.read_bytes()
    for options in ({}, {"write": True}):
        with pytest.raises(UsageError, match=r"belongs to the model 'run-1/embedding'.*'run-2'") as raised:
            Gallery.open(full, "run-2", SIZE, **options).__enter__()
        assert "\n" not in str(raised.value)
        with pytest.raises(UsageError, match=r"of 8 numbers, .* with 9"):
            Gallery.open(full, MODEL, 9, **options).__enter__()
    assert full.read_bytes() == before


def refused(file: Path, *, write_too: bool = True) -> str:
    """Open a file in each way, which must be refused alike in one line and leave the file as it is."""
    before = file.read_bytes() if file.is_file() else None
    said = set()
    for model in ((), (MODEL, SIZE)):
        for options in ({}, {"write": True}) if write_too else ({},):
            with pytest.raises(UsageError) as raised, Gallery.open(file, *model, **options) as gallery:
                gallery.templates()
            said.add(str(raised.value))
    assert len(said) == 1
    assert (file.read_bytes() if file.is_file() else None) == before
    line = said.pop()
    assert "\n" not in line
    assert line.startswith(str(file))
    return line


@pytest.mark.parametrize(
    "content",
    [b"x", b"Ann, Zoe\n" * 10, b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 4080, os.urandom(100_000)],
    ids=["short", "text", "magic", "header", "random"],
)
def test_another_file_is_not_a_gallery(file, content):
    file.write_bytes(content)
    assert "not a gallery; give the file" in refused(file)


def test_another_database_is_not_a_gallery(file):
    sql(file, "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    assert "not a gallery" in refused(file)
    file.unlink()
    sql(file, "VACUUM", "PRAGMA user_version = 1")
    assert "not a gallery" in refused(file)


def test_what_found_the_faces_is_kept(tmp_path):
    with write(tmp_path / "family.gallery") as gallery:
        assert gallery.found_by() == ()
        gallery.add("Anna", unit(1), "a.jpg", digest("a"), "yunet 1")
        gallery.add("Anna", unit(0, 1), "b.jpg", digest("b"), "yunet 1")
        gallery.add("Bert", unit(0, 0, 1), "c.jpg", digest("c"))
        assert gallery.found_by() == ("", "yunet 1")


def test_a_face_that_another_thing_had_found_is_replaced(file):
    with write(file) as gallery:
        gallery.add("Anna", unit(1), "a.jpg", digest("a"), "yunet 0")
        gallery.add("Bert", unit(1), "a.jpg", digest("a"), "yunet 0")
        for face in (unit(1, 0.1), unit(0, 1)):
            found_by = f"yunet {face[1]:.3f}"
            assert gallery.add("Anna", face, "a.jpg", digest("a"), found_by).outcome == "replaced"
            assert gallery.add("Anna", face, "a.jpg", digest("a"), found_by).outcome == "already there"
        np.testing.assert_array_equal(gallery.templates().rows, [unit(0, 1), unit(1)])
        assert gallery.found_by() == ("yunet 0", "yunet 1.000")


def test_a_database_of_somebody_else_stays_as_it_is(tmp_path):
    file = tmp_path / "others.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE mine (value)")
        database.commit()
    before = file.read_bytes()
    with pytest.raises(UsageError, match="not a gallery"), write(file):
        pass
    assert file.read_bytes() == before


def test_an_empty_file_that_others_may_read_becomes_a_gallery_that_they_may_not(tmp_path):
    file = tmp_path / "family.gallery"
    file.touch(0o644)
    with write(file):
        pass
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_and_a_pipe_are_not_galleries(tmp_path):
    assert "a folder; a gallery is the file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a file; a gallery is" in refused(tmp_path / "pipe")


def test_none_is_made_by_reading_or_without_a_model(tmp_path):
    assert "no such gallery; enrol somebody first with: facectl faces enroll" in refused(
        tmp_path / "none.gallery", write_too=False
    )
    with pytest.raises(UsageError, match="no such gallery"):
        Gallery.open(tmp_path / "none.gallery", write=True).__enter__()
    assert "no such gallery" in refused(tmp_path / "no" / "folder", write_too=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_gallery_without_people_to_be(file):
    file.touch()
    assert "nobody is enrolled in it; enrol somebody first" in refused(file, write_too=False)
    with pytest.raises(UsageError, match="nobody is enrolled in it"):
        Gallery.open(file, write=True).__enter__()
    assert file.read_bytes() == b""
    with write(file) as gallery:
        gallery.add("Ann", unit(1), "a.jpg", digest("a"))
    assert names(file) == {"Ann": 1}


def test_a_later_version_says_to_upgrade(full):
    sql(full, "PRAGMA user_version = 2", "DROP TABLE gallery")
    assert "has version 2 and this facectl reads 1; upgrade with: pip install -U facectl" in refused(full)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_gallery_is_damaged(file, share):
    content = big(file).read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert "is damaged" in refused(file)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE photographs SET embedding = zeroblob(32) WHERE id = 2",
        "UPDATE photographs SET embedding = zeroblob(31) WHERE id = 2",
        "UPDATE photographs SET embedding = 'Ann' WHERE id = 2",
        "UPDATE photographs SET person = 77 WHERE id = 2",
        "DELETE FROM people",
        "DELETE FROM gallery",
        "UPDATE gallery SET size = 'eight'",
        "DROP TABLE people",
        "UPDATE people SET name = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE people SET name = x'41' WHERE id = 1",
        "UPDATE people SET name = NULL WHERE id = 1",
        "UPDATE people SET name = 'A' || char(27) || '[31m' WHERE id = 1",
        "UPDATE people SET name = 'unknown' WHERE id = 1",
        "PRAGMA user_version = 0",
    ],
)
def test_a_gallery_that_was_meddled_with_is_damaged(full, statement):
    sql(full, statement)
    assert "is damaged" in refused(full)


@pytest.mark.parametrize("statement", ["source = NULL", "enrolled = x'41'"])
def test_a_photograph_that_was_meddled_with_is_damaged(full, statement):
    sql(full, f"UPDATE photographs SET {statement}")
    with Gallery.open(full) as gallery, pytest.raises(UsageError, match="is damaged"):
        gallery.photographs()


def test_any_byte_may_be_wrong_and_the_answer_is_right_or_one_line(file):
    content, rng = big(file, 40).read_bytes(), np.random.default_rng(0)
    for at in rng.integers(0, len(content), 300):
        wrong = bytearray(content)
        wrong[at : at + 50] = rng.bytes(len(wrong[at : at + 50]))
        file.write_bytes(wrong)
        try:
            with Gallery.open(file) as gallery:
                gallery.people()
                gallery.templates()
        except FacectlError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_gallery_that_may_only_be_read_is_read():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "people.gallery")
        with write(path) as gallery:
            gallery.add("Ann", unit(1), "a.jpg", digest("a"))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        with nobody():
            assert names(path) == {"Ann": 1}
            with pytest.raises(UsageError, match=r"cannot be .*written"), write(path) as gallery:
                gallery.add("Bob", unit(1), "b.jpg", digest("b"))
            with pytest.raises(UsageError, match="cannot be written"):
                write(Path(folder, "new.gallery")).__enter__()
        assert [entry.name for entry in Path(folder).iterdir()] == ["people.gallery"]
        Path(folder).chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o711])
@pytest.mark.parametrize("options", [{}, {"write": True}])
def test_a_gallery_that_may_not_be_read_is_one_line(mode, options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "people.gallery")
        with write(path):
            path.chmod(0)
        Path(folder).chmod(mode)
        with nobody(), pytest.raises(UsageError, match="cannot be") as raised:
            Gallery.open(path, MODEL, SIZE, **options).__enter__()
        assert "\n" not in str(raised.value)
        Path(folder).chmod(0o700)


def test_a_new_gallery_is_for_its_owner_alone(file):
    with write(file.parent / "deep" / file.name):
        assert (file.parent / "deep" / file.name).stat().st_mode & 0o777 == 0o600
