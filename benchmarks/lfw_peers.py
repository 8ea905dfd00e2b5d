"""LFW View 2 by what people would use instead: dlib's network, as the package face_recognition runs it.

The same 6,000 pairs and the same photographs, one at a time, the programs in turn at each: dlib in an environment of
its own (`dlib_script.py`), and facectl's FaceNet with faces found and aligned, fp32 and int8. Each uses the cores as it
does by itself. DeepFace is not among them: the package index has none of its weights, which it downloads from GitHub
when they are first used, so that what pip installs cannot be measured.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from common import ROOT, keep, pip, size_mb, test_data
from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.errors import ImageError
from facectl_runtime.faces.detect import locate
from facectl_runtime.faces.embedder import open_embedder
from facectl_runtime.faces.pair_files import Pair
from facectl_runtime.output import columns
from facectl_runtime.verification import measure
from lfw_view2 import export_facenet, link_development, percent, view2

DLIB = "dlib, as face_recognition"
SCRIPT = Path(__file__).with_name("dlib_script.py")
WARM_UP, SAY = 20, 500
"""Photographs whose time is not counted, and after how many a line is printed."""


class Answer(NamedTuple):
    """What a program makes of a photograph."""

    ms: float
    """From the file to the embedding."""
    found: bool
    """Whether it found a face."""
    embedding: npt.NDArray[np.float64] | None


class Sizes(NamedTuple):
    """What a program takes on disk, in MB: its packages and models, and what of that is models."""

    installed_mb: float
    models_mb: float


Program = Callable[[Path], Answer]


def main() -> None:
    """Make the environments and the files, embed every photograph by each program, and print and keep the table."""
    pairs = view2()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        link_development(scratch / "development")
        files = export_facenet(scratch, "facenet")
        python, sizes = _environments(scratch, files)
        with subprocess.Popen([python, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            programs = {f"facectl, {name}": _facectl(path) for name, path in files.items()}
            programs[DLIB] = _dlib(process.stdin, process.stdout)
            answers = in_turn(programs, list(dict.fromkeys(path for pair in pairs for path in (pair.a, pair.b))))
            process.stdin.close()
    figures = {name: {**_figures(answers[name], pairs), **sizes[name]._asdict()} for name in programs}
    report(figures)
    keep("lfw_peers", {"pairs": len(pairs), "photographs": len(answers[DLIB]), "programs": figures})


def _environments(scratch: Path, files: dict[str, Path]) -> tuple[Path, dict[str, Sizes]]:
    """Install both programs; give dlib's Python, and what each takes."""
    pip("wheel", "--no-deps", "--wheel-dir", scratch, ROOT)
    _, ours = _environment(scratch / "facectl", f"{next(scratch.glob('*.whl'))}[cpu]")
    python, packages = _environment(scratch / "dlib", "numpy", "pillow", "dlib-bin", "face_recognition_models")
    sizes = {}
    for name, path in files.items():
        models = (path.stat().st_size + locate().stat().st_size) / 1e6
        sizes[f"facectl, {name}"] = Sizes(size_mb(ours) + models, models)
    models = sum(file.stat().st_size for file in packages.rglob("*.dat")) / 1e6
    return python, {**sizes, DLIB: Sizes(size_mb(packages), models)}


def _environment(folder: Path, *packages: str) -> tuple[Path, Path]:
    """Make a virtual environment of some packages; give its Python, and where its packages are."""
    venv.create(folder)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "-c", ROOT / "constraints.txt", *packages)
    return python, next(folder.glob("lib/python*/site-packages"))


def _facectl(model: Path) -> Program:
    """Embed a photograph as `facectl evaluate` does."""
    embedder = open_embedder(model, Device("cpu"))

    def answer(path: Path) -> Answer:
        started = perf_counter()
        try:
            pixels = image.load(path, embedder.spec.input)
        except ImageError:
            return Answer(1e3 * (perf_counter() - started), False, None)
        embedding = embedder.engine.infer(pixels[None])[0]
        return Answer(1e3 * (perf_counter() - started), True, embedding.astype(np.float64))

    return answer


def _dlib(paths: IO[str], answers: IO[str]) -> Program:
    """Ask the script, which is running."""

    def answer(path: Path) -> Answer:
        print(path, file=paths, flush=True)
        said = json.loads(answers.readline())
        return Answer(said["ms"], said["found"], np.array(said["embedding"]))

    return answer


def in_turn(programs: dict[str, Program], paths: Sequence[str]) -> dict[str, dict[str, Answer]]:
    """Have each program embed each photograph, in turn at each; program → path → answer."""
    lfw = test_data("lfw").resolve()
    answers: dict[str, dict[str, Answer]] = {name: {} for name in programs}
    for name, program in programs.items():
        for path in paths[:WARM_UP]:
            program(lfw / path)
        print(f"{name}: ready", file=sys.stderr)
    for number, path in enumerate(paths, 1):
        for name, program in programs.items():
            answers[name][path] = program(lfw / path)
        if number % SAY == 0:
            print(f"{number:,} of {len(paths):,} photographs", file=sys.stderr)
    return answers


def _figures(answers: dict[str, Answer], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Measure as LFW's protocol has it, by how near two embeddings are, on the pairs that have both."""
    vectors = {path: answer.embedding for path, answer in answers.items() if answer.embedding is not None}
    kept = [pair for pair in pairs if pair.a in vectors and pair.b in vectors]
    scores = np.array([-np.linalg.norm(vectors[pair.a] - vectors[pair.b]) for pair in kept])
    same, folds = np.array([pair.same for pair in kept]), np.array([pair.fold for pair in kept])
    times = [answer.ms for answer in answers.values()]
    middle, late = np.percentile(times, (50, 95))
    return {
        **msgspec.to_builtins(measure(scores, same, folds)),
        "ms": float(middle),
        "p95_ms": float(late),
        "no_face": sum(not answer.found for answer in answers.values()),
        "pairs_left_out": len(pairs) - len(kept),
    }


def report(figures: dict[str, Any]) -> None:
    """Print the table."""
    measures = ("accuracy", "±", "AUC", "TAR at FAR 1e-2", "1e-3")
    rows: list[tuple[str, ...]] = [("", *measures, "ms a face", "p95", "no face", "installed MB", "models MB")]
    for name, one in figures.items():
        rates = (percent(one[key]) for key in ("tar_at_far_1e2", "tar_at_far_1e3"))
        shares = (percent(one["accuracy"]), percent(one["standard_error"]), f"{one['auc']:.5f}", *rates)
        times = (f"{one['ms']:.0f}", f"{one['p95_ms']:.0f}", str(one["no_face"]))
        rows.append((name, *shares, *times, f"{one['installed_mb']:.0f}", f"{one['models_mb']:.0f}"))
    print(columns(rows, right=range(1, 11)))


if __name__ == "__main__":
    main()
