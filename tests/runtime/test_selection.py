"""Which frames are answered, by `--every`, `--start` and `--end`."""

import pytest

from facectl_runtime.errors import UsageError
from facectl_runtime.video.selection import ALL, Selection, parse_length, parse_selection

FILM = [number / 10 for number in range(40)]
"""The times of ten frames a second."""


def picked(selection, times=FILM):
    pick = selection.picker()
    return [time for time in times if pick(time)]


def test_every_frame_is_answered_unless_something_else_is_said():
    assert picked(ALL) == picked(parse_selection(None, None, None)) == FILM
    assert ALL.whole


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5", 1.5), (".5", 0.5), ("90s", 90), ("250ms", 0.25), ("2m", 120), ("1.5h", 5400), ("0", 0),
        ("1:30", 90), ("0:05", 5), ("1:02:03.5", 3723.5), ("10:00:00", 36_000), ("90:00", 5400),
    ],
)  # fmt: skip
def test_times_are_seconds_or_a_clock(text, seconds):
    assert parse_selection(None, text, None).start == seconds
    assert parse_selection(None, None, "100h").end == 360_000


@pytest.mark.parametrize(
    "text", ["", "-1", "1:2:3:4", "1:", ":30", "1,5", "soon", "1e3", "nan", "inf", "5 s", "5S", "٣"]
)
@pytest.mark.parametrize("option", ["--start", "--end"])
def test_what_is_no_time_is_named(option, text):
    words = {"--start": (None, text, None), "--end": (None, None, text)}[option]
    with pytest.raises(UsageError, match=f"{option} .*is not a time; use seconds such as"):
        parse_selection(*words)


def test_from_start_up_to_before_end():
    assert picked(parse_selection(None, "1", "1.5")) == [1.0, 1.1, 1.2, 1.3, 1.4]
    assert picked(parse_selection(None, "3.75", None)) == [3.8, 3.9]
    assert picked(parse_selection(None, "99", None)) == []
    assert not parse_selection(None, "1", None).whole
    assert not parse_selection(None, None, "1").whole


@pytest.mark.parametrize(("start", "end"), [("2", "1"), ("1", "1"), (None, "0"), ("1:00", "59s")])
def test_an_end_that_is_not_after_the_start_is_refused(start, end):
    with pytest.raises(UsageError, match=f"--end {end} is not after --start {start or 0}"):
        parse_selection(None, start, end)


def test_one_frame_in_so_many_counts_from_the_start():
    assert picked(parse_selection("10", None, None)) == [0, 1, 2, 3]
    assert picked(parse_selection("10", "0.5", "2.6")) == [0.5, 1.5, 2.5]
    assert picked(parse_selection("1", None, None)) == FILM
    assert picked(parse_selection("999999999", None, None)) == [0]


@pytest.mark.parametrize(
    ("every", "times"),
    [
        ("1s", [0, 1, 2, 3]),
        ("0.25s", [0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.8, 2.0, 2.3, 2.5, 2.8, 3.0, 3.3, 3.5, 3.8]),
        ("250ms", [0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.8, 2.0, 2.3, 2.5, 2.8, 3.0, 3.3, 3.5, 3.8]),
        ("1m", [0]),
        ("1ms", FILM),
    ],
)
def test_one_frame_in_so_much_time_keeps_to_a_grid(every, times):
    """The mean rate is as asked, also where no frame falls on the grid."""
    assert picked(parse_selection(every, None, None)) == times


def test_the_grid_begins_at_the_start():
    assert picked(parse_selection("1s", "0.5", None)) == [0.5, 1.5, 2.5, 3.5]
    assert picked(parse_selection("1s", "0.55", None)) == [0.6, 1.6, 2.6, 3.6]


def test_a_gap_is_not_made_up_for():
    assert picked(parse_selection("1s", None, None), [0, 0.5, 7.2, 7.3, 7.9, 8.0, 8.1]) == [0, 7.2, 8.0]


def test_thirds_of_a_second_do_not_drift():
    """Times such as 1/30 are not exact as binary numbers."""
    film = [round(number / 30, 6) for number in range(30 * 600)]
    assert picked(parse_selection("0.1s", None, None), film) == film[::3]
    assert picked(parse_selection("0.5s", None, None), film) == film[::15]


@pytest.mark.parametrize(("fps", "every"), [(10, "0.1s"), (25, "0.2s"), (24, "0.125s"), (50, "0.3s")])
def test_a_frame_that_falls_on_the_grid_is_the_one(fps, every):
    film = [number / fps for number in range(fps * 100)]
    step = round(float(every[:-1]) * fps)
    assert picked(parse_selection(every, None, None), film) == film[::step]


@pytest.mark.parametrize(
    "every",
    [
        "0",
        "0s",
        "0ms",
        "-1",
        "-1s",
        "1.5",
        "",
        "ten",
        "5 s",
        "1:30",
        "1d",
        "9999999999",
        "٣",
        f"0.{'0' * 307}1ms",
        f"{'9' * 320}h",
    ],
)
def test_an_every_that_is_neither_a_time_nor_a_number_is_refused(every):
    with pytest.raises(UsageError, match=r"--every .*is not known; use a time such as 0\.5s, or"):
        parse_selection(every, None, None)


def test_each_picker_counts_for_itself():
    selection = Selection(every_frames=2)
    assert picked(selection) == picked(selection) == FILM[::2]


def test_lengths_have_a_unit():
    assert [parse_length("--timeout", text) for text in ("5s", "500ms", "2m", "1h")] == [5, 0.5, 120, 3600]
    for text in ("5", "", "-5s", "s", "5 s", "1:30"):
        with pytest.raises(UsageError, match=r"--timeout .*is not a time; use one such as 5s"):
            parse_length("--timeout", text)
