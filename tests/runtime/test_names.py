"""Names that every file system takes."""

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.names import Names, file_stem, folder_name


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("guinea pig", "guinea pig"),
        ("Löwe", "Löwe"),
        ("20/30", "20%2F30"),
        ("20%2F30", "20%252F30"),
        ("..", "%2E%2E"),
        ("con", "%63on"),
        ("a.", "a%2E"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_a_label_names_a_folder_of_its_own(label, folder, tmp_path):
    assert folder_name(label) == folder
    (tmp_path / folder).mkdir()


@pytest.mark.parametrize("label", ["", "x" * 256, "犬" * 86])
def test_a_label_that_cannot_name_a_folder_is_refused(label):
    with pytest.raises(UsageError, match="rename it"):
        folder_name(label)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("IMG 0042 (1)", "IMG 0042 (1)"),
        ("rtsp://user:***@cam:554/a", "rtsp-user-@cam-554-a"),
        ("/dev/video0", "dev-video0"),
        ("..", "picture"),
        ("-", "picture"),
        ("nul.tar", "-nul.tar"),
        ("\udcff", "�"),
    ],
)
def test_a_source_names_a_file(text, stem, tmp_path):
    assert file_stem(text) == stem
    (tmp_path / f"{stem}.jpg").touch()


def test_a_long_name_is_cut_between_characters():
    stem = file_stem("犬" * 300)
    assert stem == "犬" * 66


def test_each_name_is_given_once_in_whatever_case():
    names = Names()
    assert [names.give(stem, ".jpg") for stem in ("a", "A", "a", "a-2", "b")] == [
        "a.jpg",
        "A-2.jpg",
        "a-3.jpg",
        "a-2-2.jpg",
        "b.jpg",
    ]
