"""README quotes what the benchmarks printed, names commands that exist, and links to files that are there."""

import json
import re
import sys
from pathlib import Path

import pytest

from facectl_runtime.cli import run
from facectl_runtime.metrics import wilson

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    sys.modules.pop("common", None)
    from readme import tables

    assert tables() in README


def test_a_recipe_comes_with_its_interval_and_age_where_it_was_measured(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("common", "readme", "readme_faces"):
        sys.modules.pop(name, None)
    import common
    import readme

    monkeypatch.setattr(common, "OUT", tmp_path)
    variants = {"recipe": {"what": "The network.", "mean": 1.0, "spread": 0.0, "each": [1.0] * 3, "n": 69}}
    (tmp_path / "age.json").write_text(json.dumps({"seeds": 3, "variants": variants}))
    low, _ = wilson(69, 69)
    assert readme._recipes()[-1] == (
        f"| three ages of UTKFace | The network | 1.0000 ± 0.0000 | {low:.4f} to 1.0000 | 69 |"
    )


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [target for target in targets if target and not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`facectl ([a-z]+)", README))))
def test_commands_exist(command, capsys):
    assert run([command, "--help"]) == 0
    assert "Usage: facectl" in capsys.readouterr().out
