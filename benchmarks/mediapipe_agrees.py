"""MediaPipe's ImageClassifier, in an environment of its own, on exported .tflite files: the names that facectl gives.

Twice for each file: on test photographs as facectl resizes them, so that the model and its metadata alone are compared,
and on whole photographs, which MediaPipe resizes its own way (as RGB: it fails on a greyscale file by itself).

    python benchmarks/mediapipe_agrees.py                                 trains and exports a fold of the zoo first
    python benchmarks/mediapipe_agrees.py --split RUN/split.json FILE…    files that are there

MediaPipe's library wants libEGL and libGLESv2 even where it computes on the CPU: apt-get install libegl1 libgles2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from common import facectl, keep, test_data
from facectl_runtime import image
from facectl_runtime.engines import format_of
from facectl_runtime.labelled import Split
from facectl_runtime.output import columns

# Run by the other environment's Python: MODEL, PIXELS.npy, a JSON list of photographs → their labels, as JSON.
CLASSIFY = """
import json, sys
import mediapipe, numpy, PIL.Image, PIL.ImageOps
from mediapipe.tasks.python import BaseOptions, vision

model, pixels, photographs = sys.argv[1], numpy.load(sys.argv[2]), json.load(open(sys.argv[3]))
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=1)
with vision.ImageClassifier.create_from_options(options) as classifier:
    def label(rgb):
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.ascontiguousarray(rgb))
        return classifier.classify(picture).classifications[0].categories[0].category_name
    def whole(path):
        return numpy.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB"))
    said = {"resized": [*map(label, pixels)], "photographs": [label(whole(path)) for path in photographs]}
print(json.dumps({**said, "version": mediapipe.__version__}))
"""


_LEAST = 0.99
"""Share of photographs, as the same pixels, to which it must give the same name."""


def main() -> None:
    """Compare each file, and print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--split", type=Path, help="split.json of the run that the files come from")
    given = parser.parse_args()
    if bool(given.files) != bool(given.split):
        parser.error("give both --split and files, or neither")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        files, split = (given.files, given.split) if given.files else _exported(scratch)
        recorded = msgspec.json.decode(split.read_bytes(), type=Split)
        photographs = [str(Path(recorded.root, item.path)) for item in recorded.parts["test"]]
        python = _environment(scratch / "venv")
        compared = {file.name: _compare(file, photographs, python, scratch) for file in files}
    report(compared, len(photographs))


def _exported(scratch: Path) -> tuple[list[Path], Path]:
    run = scratch / "zoo"
    facectl("train", "zoo", "--data", test_data("zoo"), "--fold", "1/5", "--out", run, "--no-report")
    facectl("export", run, "--format", "tflite", "--quantize", "fp32,int8")
    return sorted((run / "export").glob("*.tflite"), key=lambda path: len(path.name)), run / "split.json"


def _environment(folder: Path) -> Path:
    """Make a virtual environment with MediaPipe in it, and give its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", "mediapipe"], check=True)
    return python


def _compare(file: Path, photographs: list[str], python: Path, scratch: Path) -> dict[str, Any]:
    """Give the shares of photographs that MediaPipe gives facectl's label to, and MediaPipe's version."""
    results = json.loads(facectl("predict", file, *photographs, "--json", "--quiet"))["results"]
    ours = [one["top"][0]["label"] for one in results]
    spec = format_of(file).read_spec(file).input
    np.save(scratch / "pixels.npy", np.stack([image.load(Path(path), spec) for path in photographs]))
    (scratch / "photographs.json").write_text(json.dumps(photographs))
    words = [python, "-c", CLASSIFY, file.resolve(), scratch / "pixels.npy", scratch / "photographs.json"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{file}: MediaPipe does not take it:\n{done.stderr}")
    theirs = json.loads(done.stdout)
    shares = {
        what: sum(a == b for a, b in zip(ours, theirs[what], strict=True)) / len(ours)
        for what in ("resized", "photographs")
    }
    return {**shares, "mediapipe": theirs["version"]}


def report(compared: dict[str, dict[str, Any]], n: int) -> None:
    """Print and keep the figures."""
    rows = [("file", "same pixels", "own resize", "n", "mediapipe")]
    for name, one in compared.items():
        rows.append((name, f"{one['resized']:.4f}", f"{one['photographs']:.4f}", str(n), one["mediapipe"]))
    print(columns(rows, right=(1, 2, 3)))
    keep("mediapipe", {"n": n, "files": compared})
    if least := [name for name, one in compared.items() if one["resized"] < _LEAST]:
        sys.exit(f"{', '.join(least)}: MediaPipe agrees on less than {_LEAST:.0%} of the same pixels")


if __name__ == "__main__":
    main()
