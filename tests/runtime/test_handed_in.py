"""Entry points, held to what importlib.metadata reads."""

import importlib.metadata
import os
import sys

import pytest

from facectl_runtime.handed_in import entry_points


@pytest.mark.parametrize("group", ["facectl.commands", "facectl.engines"])
def test_they_are_those_that_the_standard_library_finds(group):
    expected = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=group)}
    assert {name: entry.reference for name, entry in entry_points(group).items()} == expected


def package(root, name, text):
    (root / f"{name}-1.dist-info").mkdir(parents=True)
    (root / f"{name}-1.dist-info" / "entry_points.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second"), str(tmp_path / "missing.zip")])
    entry_points.cache_clear()
    yield tmp_path
    entry_points.cache_clear()


def test_names_keep_their_case_and_blanks_do_not_count(place):
    package(place / "first", "a", "[other]\nx = y:z\n\n[group]\nName.One=os.path:join\n")
    found = entry_points("group")
    assert "Name.One" in found
    assert found["Name.One"].load() is os.path.join
    assert entry_points("none") == {}


def test_the_first_on_the_path_counts(place):
    package(place / "second", "a", "[group]\none = os:sep\nother = os:linesep\n")
    package(place / "first", "b", "[group]\none = os:pathsep\n")
    found = entry_points("group")
    assert found["one"].reference == "os:pathsep"
    assert found["other"].reference == "os:linesep"
