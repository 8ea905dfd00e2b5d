"""One trained classifier on the same photographs, whole processes in turn: facectl, Keras, and a plain OpenCV script.

Each runs in an environment of its own that holds what it needs and no more, with its own defaults, on all cores.
`keras_script.py` and `opencv_script.py` are what people write.
"""

import csv
import json
import shutil
import statistics
import tempfile
import venv
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common import ROOT, Measured, facectl, keep, measured, pip, size_mb, test_data
from facectl_runtime.labelled import Split
from facectl_runtime.output import columns
from mosaics import write_mosaics

MOSAICS, WARM_UP = 200, 1
ONE, TEST, LARGE = "one photograph", "test photographs", "12 megapixels"
ROUNDS = {ONE: 21, TEST: 11, LARGE: 3}
FIRST = "facectl, zoo.onnx"
SCRIPTS = Path(__file__).parent


class Peer(NamedTuple):
    """A program: its command, which a folder of photographs comes after, and the size of its packages."""

    command: list[object]
    installed_mb: float


class Photograph(NamedTuple):
    """A test photograph: its true label, and what the trained model said of it right after training."""

    truth: str
    label: str
    probability: float


def main() -> None:
    """Train a model, make the environments and the photographs, measure, print and keep the table."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        run = scratch / "zoo"
        facectl("train", "zoo", "--data", test_data("zoo"), "--out", run, "--no-report", "--quiet")
        facectl("export", run, "--format", "onnx", "--quantize", "fp32,int8", "--quiet")
        test = _copy_test_photographs(run, scratch / TEST)
        (scratch / ONE).mkdir()
        shutil.copy(scratch / TEST / "0000.jpg", scratch / ONE)
        write_mosaics(test_data("zoo"), scratch / LARGE, MOSAICS)
        peers = _peers(run, scratch)
        rounds = {name: _in_turn(peers, scratch / name, count) for name, count in ROUNDS.items()}
    figures: dict[str, Any] = {name: {"installed_mb": peer.installed_mb} for name, peer in peers.items()}
    for name, one in figures.items():
        one.update({photographs: _figures(rounds[photographs], name) for photographs in ROUNDS})
        one.update(_answers(rounds[TEST][0][name].printed, test))
    report(figures, len(test))


def _copy_test_photographs(run: Path, out: Path) -> list[Photograph]:
    """Copy the photographs of the test split into one folder, named by number; give what is known of each."""
    split = msgspec.json.decode((run / "split.json").read_bytes(), type=Split)
    with (run / "predictions.csv").open(newline="") as file:
        predictions = {row.pop("path"): row for row in csv.DictReader(file)}
    out.mkdir()
    photographs = []
    for number, item in enumerate(split.parts["test"]):
        shutil.copy(Path(split.root, item.path), out / f"{number:04}.jpg")
        predicted = {name: float(said) for name, said in predictions[item.path].items() if name != "label"}
        label = max(predicted, key=lambda name: predicted[name])
        photographs.append(Photograph(item.label, label, predicted[label]))
    return photographs


def _peers(run: Path, scratch: Path) -> dict[str, Peer]:
    """Make the three environments; give the programs in the order in which they take turns."""
    labels = scratch / "labels.txt"
    labels.write_text("\n".join(json.loads((run / "spec.json").read_bytes())["labels"]))
    pip("wheel", "--no-deps", "--wheel-dir", scratch, ROOT)
    ours, our_mb = _environment(scratch / "facectl", f"{next(scratch.glob('*.whl'))}[cpu]")
    opencv, opencv_mb = _environment(scratch / "opencv", "opencv-python-headless", "onnxruntime", "numpy")
    keras, keras_mb = _environment(scratch / "keras", "tensorflow", "tf_keras", "pillow")
    peers = {}
    for file in ("zoo.onnx", "zoo.int8.onnx"):
        model = run / "export" / file
        command: list[object] = [ours / "facectl", "predict", "--jsonl", "--quiet", model]
        peers[f"facectl, {file}"] = Peer(command, our_mb)
        command = [opencv / "python", SCRIPTS / "opencv_script.py", model, labels]
        peers[f"OpenCV script, {file}"] = Peer(command, opencv_mb)
    command = [keras / "python", SCRIPTS / "keras_script.py", run / "model.keras", labels]
    return {**peers, "Keras, model.keras": Peer(command, keras_mb)}


def _environment(folder: Path, *packages: str) -> tuple[Path, float]:
    """Make a virtual environment of some packages; give its folder of programs and the packages' size in MB."""
    venv.create(folder)
    pip("--python", folder / "bin" / "python", "install", "-c", ROOT / "constraints.txt", *packages)
    return folder / "bin", size_mb(next(folder.glob("lib/python*/site-packages")))


def _in_turn(peers: dict[str, Peer], photographs: Path, rounds: int) -> list[dict[str, Measured]]:
    """Run every program once a round; the first round, which fills the disk's cache, is not given."""
    turns = range(WARM_UP + rounds)
    return [{name: measured([*peer.command, photographs]) for name, peer in peers.items()} for _ in turns][WARM_UP:]


def _figures(rounds: list[dict[str, Measured]], name: str) -> dict[str, Any]:
    """Give a program's medians; `ratio` is its seconds over those of facectl's in the same round."""
    own = [one[name] for one in rounds]
    seconds = statistics.median(one.seconds for one in own)
    return {
        "seconds": seconds,
        "images_a_second": len(_said(own[0].printed)) / seconds,
        "peak_mb": statistics.median(one.peak_mb for one in own),
        "ratio": statistics.median(one[name].seconds / one[FIRST].seconds for one in rounds),
        "each": [one.seconds for one in own],
    }


def _answers(printed: str, test: list[Photograph]) -> dict[str, float]:
    """Give top-1, and how a program's answers differ from those of the trained model when it was trained."""
    pairs = list(zip(_said(printed), test, strict=True))
    return {
        "accuracy": statistics.mean(label == one.truth for (label, _), one in pairs),
        "other_label": sum(label != one.label for (label, _), one in pairs),
        "mean_difference": statistics.mean(abs(p - one.probability) for (label, p), one in pairs if label == one.label),
    }


def _said(printed: str) -> list[tuple[str, float]]:
    """Give the label of each photograph and its probability, from facectl's lines or a script's; Keras prints more."""
    answers = []
    for line in printed.splitlines():
        if line.startswith("{"):
            best = json.loads(line)["top"][0]
            answers.append((best["label"], best["probability"]))
        elif "\t" in line:
            _, label, probability = line.split("\t")
            answers.append((label, float(probability)))
    return answers


def report(peers: dict[str, Any], n: int) -> None:
    """Print and keep the figures."""
    head = ("cold start, s", f"{n} photographs, a second", f"{MOSAICS} of 12 megapixels, a second", "peak MB")
    rows: list[tuple[str, ...]] = [("", *head, "installed MB", "top-1", "other label", "mean |Δp|")]
    for name, one in peers.items():
        speeds = (f"{one[ONE]['seconds']:.2f}", *(f"{one[what]['images_a_second']:.1f}" for what in (TEST, LARGE)))
        sizes = (f"{one[LARGE]['peak_mb']:.0f}", f"{one['installed_mb']:.0f}")
        answers = (f"{one['accuracy']:.4f}", str(one["other_label"]), f"{one['mean_difference']:.1g}")
        rows.append((name, *speeds, *sizes, *answers))
    print(columns(rows, right=tuple(range(1, 9))))
    keep("peers", {"n": n, "mosaics": MOSAICS, "rounds": ROUNDS, "first": FIRST, "peers": peers})


if __name__ == "__main__":
    main()
