"""Completion by the shells' own scripts: the process that they start, and bash itself."""

import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = "from facectl_runtime.cli import main; main()"


@pytest.fixture
def complete(spawn):
    """Give a function that asks as a shell's script does, and gives the exit code and the words or lines answered."""

    def ask(shell, line, **more):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        asked = words if shell == "bash" else {"_TYPER_COMPLETE_ARGS": line}
        ran = spawn(env={**os.environ, "_FACECTL_COMPLETE": f"complete_{shell}", **asked, **more})
        assert ran.err == ""
        return ran.code, ran.out.splitlines()

    return ask


@pytest.fixture
def shell(tmp_path):
    """Give a function that runs a script of bash in which `facectl` is a program and HOME is empty."""
    program = tmp_path / "bin/facectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{PROGRAM}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)

    def run(script):
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout

    return run


def test_names_of_commands(complete):
    _, commands = complete("bash", "facectl ")
    assert {"predict", "evaluate", "verify", "inspect", "doctor", "train", "export"} <= set(commands)
    assert complete("bash", "facectl pre") == (0, ["predict"])
    assert complete("bash", "facectl data spl") == (0, ["split"])


def test_options_of_a_command(complete):
    _, options = complete("bash", "facectl predict --")
    assert {"--topk", "--device", "--json", "--help"} <= set(options)
    assert complete("bash", "facectl verify model.onnx --dev") == (0, ["--device"])
    assert "--seed" in complete("bash", "facectl train --")[1]


def test_values_of_options(complete):
    assert complete("bash", "facectl predict --device c") == (0, ["cpu", "cuda"])
    assert complete("bash", "facectl inspect m.onnx --resize ") == (0, ["squash", "center_crop", "letterbox"])
    assert complete("bash", "facectl predict m.onnx --output lo") == (0, ["logits"])


def test_zsh_and_fish_are_told_what_each_is_for(complete):
    code, (line,) = complete("zsh", "facectl pre")
    assert code == 0
    assert line.startswith('_arguments \'*: :(("predict":"Name what is in images')
    code, (line,) = complete("fish", "facectl pre", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert code == 0
    assert line.startswith("predict\tName what is in images")


def test_file_names_are_left_to_the_shell(complete):
    assert complete("bash", "facectl predict zo") == (0, [""])  # its script then falls back on them
    assert complete("zsh", "facectl predict zo") == (0, ["_files"])
    assert complete("fish", "facectl predict zo", _TYPER_COMPLETE_FISH_ACTION="is-args") == (1, [])


@pytest.mark.parametrize(
    "line", ["facectl nothing --x", "facectl 'predict", "facectl predict --device ", "facectl data no "]
)
def test_what_makes_no_sense_is_no_error(complete, line):
    assert complete("bash", line)[0] == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_itself(shell):
    """By the script that it is shown, for which a terminal's Tab key is a call of the function."""
    tab = "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _facectl_completion facectl; echo ${COMPREPLY[@]}"
    words = "COMP_WORDS=(facectl insp)", "COMP_WORDS=(facectl inspect --js)"
    script = "; ".join(["source <(facectl --show-completion)", words[0], tab, words[1], tab])
    assert shell(script).split() == ["inspect", "--json"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_installs_it(shell, tmp_path):
    assert "bash completion installed in " in shell("facectl --install-completion; true")
    assert (tmp_path / ".bashrc").read_text(encoding="utf-8").split() == [
        "source",
        f"'{tmp_path}/.bash_completions/facectl.sh'",
    ]
    assert "_facectl_completion" in shell("source ~/.bashrc; complete -p facectl")
