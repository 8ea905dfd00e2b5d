"""From what a person types to the images behind it."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from facectl_runtime.sources import display_name, expand, images_below, is_live, is_stream, shown


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stdin(monkeypatch):
    """Give a function that puts bytes on stdin."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))

    return put


def touch(*names):
    for name in names:
        path = Path(os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*words):
    return [source.name for source in expand(words)]


def errors(*words):
    return [source.error for source in expand(words)]


def test_files_keep_the_order_in_which_they_are_given():
    touch("b.png", "a.png")
    sources = list(expand(["b.png", "a.png", "b.png"]))
    assert [source.name for source in sources] == ["b.png", "a.png", "b.png"]
    assert [source.data for source in sources] == [Path("b.png"), Path("a.png"), Path("b.png")]
    assert [source.error for source in sources] == [None] * 3


def test_a_file_named_by_itself_needs_no_suffix():
    touch("photo")
    assert found("photo") == ["photo"]


def test_a_folder_gives_its_images_sorted_from_all_depths():
    touch("f/b.PNG", "f/a.jpg", "f/z/c.webp", "f/y/d.heic", "f/notes.txt", "f/.hidden.png", "f/.cache/e.png", "f/png")
    assert found("f") == ["f/a.jpg", "f/b.PNG", "f/y/d.heic", "f/z/c.webp"]


def test_links_to_images_count_and_links_to_folders_are_said_and_not_followed():
    touch("real/a.png")
    Path("f").mkdir()
    Path("f/link.png").symlink_to(Path("real/a.png").absolute())
    Path("f/loop").symlink_to(Path.cwd())
    assert found("f") == ["f/link.png", "f/loop"]
    assert [error and error.split(",")[0] for error in errors("f")] == [None, "a link to a folder"]


def test_a_folder_without_images_is_an_error_that_names_what_is_looked_for():
    touch("f/notes.txt")
    (source,) = expand(["f"])
    assert source.name == "f"
    assert source.data is None
    assert "no images" in source.error
    assert ".jpg" in source.error


def test_a_pattern_gives_its_matches_sorted_and_the_folders_it_matches():
    touch("b.png", "a.png", "c.txt", "deep/er/d.png")
    assert found("*.png") == ["a.png", "b.png"]
    assert found("de*") == ["deep/er/d.png"]
    assert found("**/*.png") == ["a.png", "b.png", "deep/er/d.png"]


def test_a_pattern_without_matches_is_one_error():
    (source,) = expand(["*.png"])
    assert source.name == "*.png"
    assert "nothing matches" in source.error


def test_a_name_that_looks_like_a_pattern_is_itself_first():
    touch("a[1].png", "a1.png")
    assert found("a[1].png") == ["a[1].png"]
    Path("a[1].png").unlink()
    assert found("a[1].png") == ["a1.png"]


ODD = ["two words.png", 'it\'s "quoted".png', "-dash.png", "--json.png", "🦊.png", "Bär.png", "日本.png", "a\nb.png"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_found_in_folders_patterns_and_by_themselves(name):
    touch(f"f/{name}")
    assert found("f") == found("f/*.png") == found(f"f/{name}") == [f"f/{name}"]


def test_a_name_that_is_not_utf8_is_found_and_can_be_printed():
    touch(b"f/\xff.png")
    for word in ("f", "f/*.png", os.fsdecode(b"f/\xff.png")):
        (source,) = expand([word])
        assert source.name == "f/\ufffd.png"
        assert source.data.exists()
    assert display_name(os.fsdecode(b"\xe9t\xe9")) == "\ufffdt\ufffd"


def test_what_is_not_there_is_left_to_the_reader():
    assert errors("missing.png") == [None]  # the reader says why it cannot be read
    Path("dangling.png").symlink_to("nowhere")
    assert found("dangling.png") == ["dangling.png"]


@pytest.mark.parametrize("word", ["x" * 300, "x" * 5000, "x" * 5000 + "*", "a\0b", "a\0*", "d\0/*.png", "loop/a.png"])
def test_a_word_that_can_name_no_file_raises_nothing(word):
    Path("loop").symlink_to("loop")
    assert len(found(word)) == 1


def test_an_empty_word_is_an_error_and_not_the_folder_one_is_in():
    touch("a.png")
    (source,) = expand([""])
    assert source.data is None
    assert source.error


def test_sources_are_found_only_as_they_are_asked_for():
    touch("a.png")

    def words():
        yield "a.png"
        pytest.fail("looked further than asked")

    assert next(expand(words())).name == "a.png"


def picture(kind):
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM"])
def test_stdin_may_be_one_image(stdin, kind):
    data = picture(kind)
    stdin(data)
    (source,) = expand(["-"])
    assert (source.name, source.data) == ("-", data)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\0"])
def test_stdin_may_be_a_list(stdin, ending):
    touch("b.png", "f/a.png", "two words.png")
    stdin(ending.join([b"b.png", b"f", b"", b"two words.png", b"missing.png"]))
    assert found("-") == ["b.png", "f/a.png", "two words.png", "missing.png"]


@pytest.mark.parametrize("name", ["BMW.jpg", "BM", "RIFF.png", "GIF8.png", "II.tif", "-", "MM.png", "catsftyp.png"])
def test_a_list_may_begin_with_a_name_that_looks_like_an_image(stdin, name):
    touch(name, "b.png")
    stdin(f"{name}\nb.png\n".encode())
    assert found("-") == [name, "b.png"]


def test_a_list_separated_by_nul_keeps_line_breaks_in_names(stdin):
    touch("a\nb.png", "c.png")
    stdin(b"a\nb.png\0c.png\0")
    assert found("-") == ["a\nb.png", "c.png"]


def test_a_list_may_hold_names_that_are_not_utf8(stdin):
    touch(b"\xff.png")
    stdin(b"\xff.png\n")
    (source,) = expand(["-"])
    assert source.data.exists()


def test_nothing_on_stdin_is_no_source(stdin):
    stdin(b"")
    assert found("-") == []
    stdin(b"\n\n")
    assert found("-") == []


def test_a_closed_stdin_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    (source,) = expand(["-"])
    assert source.data is None
    assert "stdin" in source.error


def test_lines_are_answered_before_the_list_ends():
    read, write = os.pipe()
    touch("a.png", "b.png")
    with os.fdopen(write, "wb", 0) as writer, os.fdopen(read, "rb") as reader, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=reader))
        writer.write(b"a.png\n")
        sources = expand(["-"])
        assert next(sources).name == "a.png"
        writer.write(b"b.png\n")
        assert next(sources).name == "b.png"


def test_images_below_an_empty_or_missing_folder_is_nothing(tmp_path):
    errors = []
    assert list(images_below(tmp_path, errors.append)) == []
    assert errors == []
    assert list(images_below(tmp_path / "missing", errors.append)) == []
    assert [error.filename for error in errors] == [str(tmp_path / "missing")]


# What is left out


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.jpg", ["f/a.png", "f/old/c.png"]),
        ("old", ["f/a.png", "f/b.jpg"]),
        ("old/*", ["f/a.png", "f/b.jpg"]),
        ("a.png", ["f/b.jpg", "f/old/c.png"]),
        ("*/c.*", ["f/a.png", "f/b.jpg"]),
        ("nothing", ["f/a.png", "f/b.jpg", "f/old/c.png"]),
    ],
)
def test_what_is_found_in_a_folder_may_be_left_out(pattern, left):
    touch("f/a.png", "f/b.jpg", "f/old/c.png")
    assert [source.name for source in expand(["f"], [pattern])] == left


def test_several_patterns_leave_out_what_any_matches():
    touch("f/a.png", "f/b.jpg", "f/old/c.png")
    assert [source.name for source in expand(["f"], ["*.jpg", "old"])] == ["f/a.png"]
    (source,) = expand(["f"], ["*.jpg", "*.png"])
    assert "no images" in source.error


def test_the_name_of_the_folder_given_itself_leaves_nothing_out():
    touch("old/a.png")
    assert [source.name for source in expand(["old"], ["old"])] == ["old/a.png"]


def test_what_a_pattern_finds_may_be_left_out_and_what_is_named_may_not():
    touch("a.png", "b.png", "old/c.png")
    assert [source.name for source in expand(["*.png"], ["b*"])] == ["a.png"]
    assert [source.name for source in expand(["**/*.png"], ["old"])] == ["a.png", "b.png"]
    assert [source.name for source in expand(["b.png"], ["b*"])] == ["b.png"]


# What is live


LIVE = "0 12 /dev/video0 /dev/video11 /dev/v4l/by-id/usb-cam picamera rtsp://cam/1 RTSP://cam/1 http://cam"
STREAMS = "https://u:p@cam/x.mjpg rtmp://cam/live udp://@:5000 tcp://cam:9000 tcp://cam:1"
NOT_LIVE = "1234 -1 0.png video0 /dev/null /dev/video picamera2 ftp://x file:///x rtsp:x ٣"


@pytest.mark.parametrize("word", f"{LIVE} {STREAMS}".split())
def test_what_names_a_camera_or_a_stream(word):
    assert is_live(word)
    assert is_stream(word) == ("://" in word)


@pytest.mark.parametrize("word", ["", *NOT_LIVE.split()])
def test_what_names_none(word):
    assert not is_live(word)


@pytest.mark.parametrize("name", ["0", "picamera"])
def test_a_file_of_that_name_comes_first(name):
    assert is_live(name)
    touch(name)
    assert not is_live(name)
    assert is_live(f"./{name}") is False


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("rtsp://cam:554/1", "rtsp://cam:554/1"),
        ("http://cam:8080/a@b", "http://cam:8080/a@b"),
        ("rtsp://user@cam/1", "rtsp://user@cam/1"),
        ("rtsp://user:Geheim@cam:554/1", "rtsp://user:***@cam:554/1"),
        ("rtsp://user:Geheim@cam/a@b", "rtsp://user:***@cam/a@b"),
        ("rtsp://user:Ge@heim@cam/1", "rtsp://user:***@cam/1"),
        ("rtsp://user:Ge:heim@cam/1", "rtsp://user:***@cam/1"),
        ("rtsp://user:Ge/heim@cam/1", "rtsp://user:***@cam/1"),
        ("rtsp://:Geheim@cam/1", "rtsp://:***@cam/1"),
        ("rtsp://user:@cam/1", "rtsp://user:***@cam/1"),
        ("http://cam/x?user=me&password=Geheim&n=1", "http://cam/x?user=me&password=***&n=1"),
        ("rtsp://cam/user=me&password=Geheim&channel=1", "rtsp://cam/user=me&password=***&channel=1"),
        ("http://cam/x?PWD=Geheim", "http://cam/x?PWD=***"),
        ("http://cam/x?passage=1", "http://cam/x?passage=1"),
        ("http://cam/x?access_token=Geheim&api-key=Geheim", "http://cam/x?access_token=***&api-key=***"),
        ("http://cam/x?token=Ge/heim==&n=1#top", "http://cam/x?token=***&n=1#top"),
        ("http://cam/token=Geheim/live?n=1", "http://cam/token=***/live?n=1"),
        ("https://cam/x?Signature=Geheim&sig=Geheim", "https://cam/x?Signature=***&sig=***"),
    ],
)
def test_an_address_is_shown_without_its_password(address, said):
    assert shown(address) == said


def test_an_address_that_is_not_known_is_said_without_its_password():
    (found,) = expand(["rstp://user:Geheim@cam/1"])
    assert found.name == "rstp://user:***@cam/1"
    assert "rtsp://" in found.error


def test_a_stream_among_paths_is_said(stdin):
    stdin(b"rtsp://user:Geheim@cam/1\n")
    (found,) = expand(["-"])
    assert (found.name, found.error[:11]) == ("rtsp://user:***@cam/1", "is a stream")


@pytest.mark.parametrize("data", [b"\x1aE\xdf\xa3\x01\0\0\0", b"\0\0\0\x01\x02\0", bytes(range(1, 40))])
def test_what_is_neither_image_nor_list_on_stdin_is_one_error(stdin, data):
    stdin(data)
    (found,) = expand(["-"])
    assert "neither an image nor a list" in found.error


@pytest.mark.parametrize("pattern", ["deep", "deep/", "./deep", "*/deep", "deep/*"])
def test_a_folder_is_excluded_however_it_is_named(tmp_path, pattern):
    for name in ("a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [source.data.name for source in expand([str(tmp_path)], [pattern])] == ["a.png"]
    assert [source.data.name for source in expand([str(tmp_path)], [str(tmp_path / "deep")])] == ["a.png"]
