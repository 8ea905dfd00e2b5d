"""The demo shows every command that it runs, stops at the first that fails, and spares what is there."""

import numpy as np
import pytest
from PIL import Image

from facectl_export import demo


@pytest.fixture
def steps(monkeypatch):
    """Note the commands that the demo runs, and do nothing; the codes that they give can be set by name."""
    run, codes = [], {}

    def note(command):
        arguments = command[len(demo.FACECTL) :]
        run.append(arguments)
        return codes.get(arguments[0], 0)

    monkeypatch.setattr(demo.subprocess, "call", note)
    return run, codes


def test_a_folder_that_is_there_is_left_alone(facectl, tmp_path):
    (tmp_path / "demo").mkdir()
    done = facectl("demo", "--out", tmp_path / "demo")
    assert done.code == 2
    assert "already there" in done.error()
    assert list((tmp_path / "demo").iterdir()) == []


def test_it_stops_where_a_step_fails(steps, tmp_path, capsys):
    run, codes = steps
    codes["export"] = 5
    assert demo.demo(tmp_path / "demo") == 5
    assert [arguments[0] for arguments in run] == ["data", "train", "export"]
    shown = [line.removeprefix("$ facectl ") for line in capsys.readouterr().out.splitlines() if line.startswith("$")]
    assert shown == [" ".join(arguments) for arguments in run]


def test_the_picture_says_who_is_right_in_green_and_who_is_wrong_in_red(tmp_path):
    (tmp_path / "ellipse").mkdir()
    Image.new("RGB", (30, 30), "blue").save(tmp_path / "ellipse" / "1.png")
    rows = [
        {"source": str(tmp_path / "ellipse" / "1.png"), "label": label, "probability": 0.9}
        for label in ["ellipse"] * 6 + ["rectangle"]
    ]
    demo._picture(rows, tmp_path / "out.png")
    sheet = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    first, second = sheet[: sheet.shape[0] // 2], sheet[sheet.shape[0] // 2 :]
    green, red = (
        (lambda part: (part[..., 1] - part[..., 0]).max() > 60),
        (lambda part: (part[..., 0] - part[..., 1]).max() > 60),
    )
    assert (green(first), red(first)) == (True, False)
    assert (green(second), red(second)) == (False, True)
