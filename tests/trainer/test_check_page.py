"""What a check writes where it is asked to: a page that opens alone, and a copy that can be trained on."""

import base64
import errno
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facectl_runtime.image import decode
from soft_pictures import draw_cats_and_dogs, picture, save

REPLACED = "facectl_trainer.data.tree.shutil.copy2"


@pytest.fixture
def data(tmp_path):
    return draw_cats_and_dogs(tmp_path / "photos")


@pytest.fixture
def spoilt(data):
    """All that a cleaned copy mends, and what it leaves as it is."""
    (data / "cat/cut.jpg").write_bytes((data / "cat/0.jpg").read_bytes()[:900])
    picture(0).resize((96, 72)).save(data / "cat/near.jpg", quality=50)
    shutil.copy(data / "cat/1.jpg", data / "cat/again.jpg")
    save(data / "cat/twin.jpg", 50)
    shutil.copy(data / "cat/twin.jpg", data / "dog/twin.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(data / "dog/turned.jpg", 51, exif=exif, quality=95)
    picture(52).convert("CMYK").save(data / "dog/print.jpg", quality=95)
    picture(53).convert("P").save(data / "dog/same.gif")
    save(data / "dog/same.png", 54)
    picture(55).convert("L").save(data / "dog/grey.jpg")
    save(data / "dog/puppies/0.jpg", 56)
    save(data / "beside.jpg", 57)
    return data


@pytest.fixture
def check(facectl):
    return lambda *words: facectl("data", "check", "--quiet", *words)


# The cleaned copy


def test_a_cleaned_copy_holds_one_upright_picture_of_each(check, spoilt, tmp_path, tree):
    before = tree(spoilt)
    done = check(spoilt, "--fix", tmp_path / "clean", "--json")
    assert done.code == 1
    assert tree(spoilt) == before
    fixed = done.json()["fixed"]
    assert fixed["to"] == str(tmp_path / "clean")
    assert fixed["saved_anew"] == ["dog/print.jpg", "dog/same.gif", "dog/turned.jpg"]
    assert {name: why.partition(";")[0] for name, why in fixed["left_out"].items() if name != "cat/cut.jpg"} == {
        "beside.jpg": "lies beside the class folders, in none",
        "cat/again.jpg": "the same file",
        "cat/near.jpg": "nearly the same picture",
        "cat/twin.jpg": "the same file, as cat and dog",
        "dog/twin.jpg": "the same file, as cat and dog",
    }
    assert "damaged" in fixed["left_out"]["cat/cut.jpg"]
    assert fixed["left_out"]["cat/near.jpg"].endswith("cat/0.jpg is kept")

    clean = tree(tmp_path / "clean")
    same = {name: name for name in ("cat/0.jpg", "cat/1.jpg", "cat/2.jpg", "dog/0.jpg", "dog/1.jpg", "dog/2.jpg")}
    same |= {"dog/grey.jpg": "dog/grey.jpg", "dog/same-2.png": "dog/same.png", "dog/0-2.jpg": "dog/puppies/0.jpg"}
    assert clean.keys() == same.keys() | {"dog/turned.jpg", "dog/print.jpg", "dog/same.png"}
    assert fixed["written"] == len(clean)
    assert {name: clean[name] for name in same} == {name: before[old] for name, old in same.items()}
    for name, old, far in (("turned.jpg", "turned.jpg", 4), ("print.jpg", "print.jpg", 4), ("same.png", "same.gif", 0)):
        with Image.open(tmp_path / "clean/dog" / name) as image:
            assert image.mode == "RGB"
            assert not image.getexif()
            wanted = np.asarray(decode(spoilt / "dog" / old)).astype(int)
            assert image.size == wanted.shape[1::-1]
            assert np.abs(np.asarray(image) - wanted).mean() <= far


def test_a_cleaned_copy_stands_up_to_a_check(check, spoilt, tmp_path):
    words = check(spoilt, "--fix", tmp_path / "clean").out
    assert f"{tmp_path / 'clean'} is ready: 12 photographs, 6 left out, 3 saved anew" in words
    done = check(tmp_path / "clean", "--json")
    assert done.code == 0
    assert [(found["kind"], found["why"]) for found in done.json()["findings"]] == [("mode", "grey")]


def test_what_is_ignored_is_not_mended(check, spoilt, tmp_path, tree):
    check(spoilt, "--ignore", "duplicate,rotated,conflict", "--fix", tmp_path / "clean")
    clean, before = tree(tmp_path / "clean"), tree(spoilt)
    for name in ("cat/again.jpg", "dog/turned.jpg", "cat/twin.jpg", "dog/twin.jpg"):
        assert clean[name] == before[name]
    assert "cat/near.jpg" not in clean


def test_of_one_picture_in_several_parts_test_keeps_its_own(check, tmp_path, tree):
    for place, part in enumerate(("train", "val", "test")):
        draw_cats_and_dogs(tmp_path / "photos" / part, 10 * place)
    whole = tree(tmp_path / "photos")
    shutil.copy(tmp_path / "photos/test/cat/0.jpg", tmp_path / "photos/train/cat/copy.jpg")
    picture(21).resize((640, 480)).save(tmp_path / "photos/val/dog/large.png")  # of test/dog/0, and a larger file
    check(tmp_path / "photos", "--fix", tmp_path / "clean")
    assert tree(tmp_path / "clean") == whole
    assert check(tmp_path / "clean", "--strict").code == 0


def test_photographs_without_classes_are_cleaned_into_one_folder(check, spoilt, tmp_path, tree):
    assert check(spoilt / "cat", "--fix", tmp_path / "clean").code == 1
    assert tree(tmp_path / "clean").keys() == {"0.jpg", "1.jpg", "2.jpg", "twin.jpg"}


def test_a_cleaned_copy_goes_only_where_nothing_is(check, data, tmp_path, tree):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("precious")
    (tmp_path / "inside").symlink_to(data / "cat")
    before = tree(tmp_path)
    for target, said in (
        (tmp_path / "mine", "already there; give another --fix"),
        (tmp_path / "mine" / "note.txt", "already there"),
        (tmp_path / "mine" / "note.txt" / "new", "cannot be written"),
        (data, "already there"),
        (data / "clean", f"lies inside {data}"),
        (tmp_path / "inside" / "clean", f"lies inside {data}"),
    ):
        done = check(data, "--fix", target)
        assert done.code == 2
        assert said in done.error()
    assert tree(tmp_path) == before


def test_where_nothing_would_be_left_nothing_is_written(check, tmp_path):
    save(tmp_path / "photos/cat/0.jpg", 0)
    save(tmp_path / "photos/dog/0.jpg", 0)
    done = check(tmp_path / "photos", "--fix", tmp_path / "clean")
    assert done.code == 2
    assert "no photograph of the class cat would be left" in done.error()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(OSError(errno.ENOSPC, "No space left on device", "x.jpg"), 1, "No space left"), (KeyboardInterrupt(), 130, "")],
)
def test_when_the_copy_breaks_off_nothing_is_left(check, spoilt, tmp_path, monkeypatch, tree, error, code, said):
    before = tree(spoilt)
    copied = []

    def copy(source, target):
        if len(copied) == 3:
            raise error
        copied.append(shutil.copyfile(source, target))

    monkeypatch.setattr(REPLACED, copy)
    done = check(spoilt, "--fix", tmp_path / "clean")
    assert done.code == code
    assert said in done.error()
    assert len(copied) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert tree(spoilt) == before


# The page


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data

    def pictures(self):
        content = (link.partition("base64,")[2] for link in self.links if link.startswith("data:image/jpeg"))
        return [Image.open(BytesIO(base64.b64decode(each))) for each in content]


@pytest.fixture
def page(check, tmp_path):
    def page(*words):
        assert f"{tmp_path / 'page.html'} is ready" in check("--html", tmp_path / "page.html", *words).out
        return Page(tmp_path / "page.html")

    return page


def test_the_page_opens_alone_and_names_what_was_found(page, spoilt, tmp_path):
    found = page(spoilt)
    assert all(link.startswith(("data:image/", "#")) for link in found.links)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    for text in (
        "Check of photos", "4 problems", "in 17 photographs", "cat/cut.jpg", "dog/twin.jpg", "as cat and dog",
        "cat/near.jpg", "likeness 0.9", "EXIF orientation 6", "CMYK, for print", "dog/puppies/0.jpg",
    ):  # fmt: skip
        assert text in found.text
    assert [path.name for path in tmp_path.iterdir() if path != spoilt] == ["page.html"]


def test_the_page_holds_the_photographs_side_by_side(page, spoilt):
    for name in ("turned.jpg", "print.jpg", "same.gif", "grey.jpg", "puppies/0.jpg"):
        (spoilt / "dog" / name).unlink()
    shown = page(spoilt)
    names = ["cat/twin.jpg", "dog/twin.jpg", "cat/1.jpg", "cat/again.jpg", "cat/0.jpg", "cat/near.jpg"]
    assert len(shown.pictures()) == len(names)
    for image, name in zip(shown.pictures(), names, strict=True):
        small = np.asarray(image.convert("RGB")).astype(int)
        assert max(small.shape) <= 150
        inner = small[(small.shape[0] - 112) // 2 :][:112, :149]
        wanted = np.asarray(decode(spoilt / name).resize((150, 112))).astype(int)[:, :149]
        assert np.abs(inner - wanted).mean() < 12, name


def test_a_page_of_nothing_says_so(page, data):
    found = page(data)
    assert "Nothing was found." in found.text
    assert "0 problems" in found.text
    assert found.pictures() == []


def test_names_are_text_on_the_page_whatever_stands_in_them(page, data, tmp_path):
    name = "<script>alert(1)<script> & 'b'.jpg"
    (data / "cat" / name).write_bytes(b"broken")
    assert f"cat/{name}" in page(data).text
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_of_very_many_the_page_shows_some_and_says_so(page, data):
    for number in range(61):
        (data / "cat" / f"broken{number}.jpg").write_bytes(b"broken")
    found = page(data)
    assert "61 problems" in found.text
    assert "The first 60 are shown" in found.text
    assert found.pictures() == []  # there is nothing to be seen of them
    assert found.text.count("cat/broken") == 60


def test_a_page_that_is_there_stays_unless_forced(check, data, tmp_path):
    target = tmp_path / "page.html"
    target.write_text("precious")
    done = check(data, "--html", target)
    assert done.code == 2
    assert "already there; give another --html, or --force" in done.error()
    assert target.read_text() == "precious"
    assert check(data, "--html", target, "--force").code == 0
    assert "Nothing was found." in target.read_text()


def test_a_page_that_cannot_be_written_is_one_line(check, data, tmp_path):
    (tmp_path / "file").touch()
    for target, said in ((tmp_path / "file" / "page.html", "cannot be written"), (data, "a folder; give the name of")):
        done = check(data, "--html", target)
        assert done.code == 2
        assert said in done.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]


def test_class_folders_keep_their_names_and_the_photograph_of_most_pixels_stays(check, data, tmp_path, tree):
    odd = "c:at? 'n"
    (data / "cat").rename(data / odd)
    with Image.open(data / odd / "0.jpg") as image:
        image.resize((image.width // 2, image.height // 2)).save(data / odd / "half.png")
    assert (data / odd / "half.png").stat().st_size > (data / odd / "0.jpg").stat().st_size
    assert check(data, "--fix", tmp_path / "clean").code == 1
    assert [name for name in tree(tmp_path / "clean") if name.startswith(odd)] == [f"{odd}/{k}.jpg" for k in range(3)]
