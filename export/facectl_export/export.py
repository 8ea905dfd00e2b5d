"""Export: from a run folder to files that passed the gate, all of them or none."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_export import gate, golden, onnx
from facectl_export.precision import TOLERANCES
from facectl_runtime import image
from facectl_runtime.devices import Device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.errors import GateError, ImageError, ModelError, UsageError
from facectl_runtime.evaluate import Answered, answer_labelled, metrics
from facectl_runtime.files import scratch_beside
from facectl_runtime.labelled import Image
from facectl_runtime.progress import progress
from facectl_runtime.spec import ModelSpec, Precision
from facectl_runtime.verify import replay
from facectl_trainer.engine import run_folder
from facectl_trainer.run import Run, read_run

CPU = Device("cpu")  # what the gate and the calibration run on: the same everywhere
CALIBRATION_IMAGES = 512
CALIBRATION_BATCH = 16
FORMATS = ("onnx",)


@dataclass(frozen=True)
class Exported:
    """One file that passed the gate."""

    path: Path
    precision: Precision
    size: int
    """Bytes."""
    comparison: gate.Comparison


def export(
    folder: Path,
    out: Path,
    precisions: Sequence[Precision],
    data: Path | None = None,
    quiet: bool = False,
) -> list[Exported]:
    """Export a run at each of `precisions`, prove every file, and only then put them into `out`.

    `data` is where the run's photographs lie now, if they were moved. Raises `GateError` where a file does not answer
    as the trained model does; what stood in `out` is then untouched.
    """
    onnx.require_packages()
    run = read_run(folder)
    root, tests = run.images("test", data)
    training = run.images("train", data)[1] if "int8" in precisions else []
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file stands there; give a folder with --out")
    trained = run_folder.open(folder, run.spec, CPU)
    with progress("trained model on the test split", len(tests), quiet) as advance:
        reference = answer_labelled(trained, run.spec.input, run.spec.labels, root, tests, advance)
    if reference.unreadable:
        first, reason = reference.unreadable[0]
        raise UsageError(f"{root / first}: {reason}; it was readable in training: is an extra (heic) missing here?")
    size = run.spec.input
    candidates = golden.patterns(size) if run.recipe.people else golden.photographs(root, reference.images, size)
    inside = out / run.spec.name  # of a folder that is there: it may be a mount, and files are renamed within one only
    with scratch_beside(inside if out.is_dir() else out) as scratch:
        made = _make(run, precisions, root, training, scratch, quiet)
        done, failures = [], []
        for precision, path in made:
            one, short = _prove(path, precision, run.spec, trained, reference, root, candidates, quiet)
            done.append(one)
            failures += [f"{path.name}: {shortfall}" for shortfall in short]
        if failures:
            raise GateFailureError(done, failures)
        return _deliver(done, out, scratch)


class GateFailureError(GateError):
    """Files fell short; carries every comparison, for a report."""

    def __init__(self, compared: list[Exported], failures: list[str]) -> None:
        super().__init__(f"nothing was exported: {'; '.join(failures)}")
        self.compared = compared


def parse_precisions(text: str) -> list[Precision]:
    """Read a comma-separated list. Raises `UsageError` for a precision that cannot be exported."""
    words = _words(text, "--quantize", list(TOLERANCES))
    return [precision for precision in TOLERANCES if precision in words]


def parse_formats(text: str) -> list[str]:
    """Read a comma-separated list. Raises `UsageError` for a format that cannot be exported."""
    return _words(text, "--format", list(FORMATS))


def _words(text: str, option: str, known: list[str]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if wrong := [word for word in words if word not in known]:
        raise UsageError(f"{option} {text!r}: {wrong[0]!r} is not known; use {', '.join(known)}")
    return words


def _make(
    run: Run, precisions: Sequence[Precision], root: Path, training: Sequence[Image], scratch: Path, quiet: bool
) -> list[tuple[Precision, Path]]:
    """Convert and quantize into `scratch`."""
    fp32 = scratch / f"{run.spec.name}.onnx"
    with progress("converting to ONNX", 1, quiet) as advance:
        onnx.write_fp32(run.model(), run.spec, fp32)
        advance(1)
    made: list[tuple[Precision, Path]] = [("fp32", fp32)] if "fp32" in precisions else []
    if "int8" in precisions:
        int8 = scratch / f"{run.spec.name}.int8.onnx"
        chosen = calibration_images(training, CALIBRATION_IMAGES)
        with progress("quantizing to int8, calibration images", len(chosen), quiet) as advance:
            onnx.write_int8(fp32, _batches(root, chosen, run.spec, advance), int8, scratch)
        made.append(("int8", int8))
    return made


def calibration_images(images: Sequence[Image], count: int) -> list[Image]:
    """Choose up to `count` of the training images, evenly over the classes, in an order that does not change."""
    classes: dict[str, list[Image]] = {}
    for item in sorted(images, key=lambda item: item.path):
        classes.setdefault(item.label, []).append(item)
    turns = [
        items[turn]
        for turn in range(max(map(len, classes.values())))
        for items in classes.values()
        if turn < len(items)
    ]
    return turns[:count]


def _batches(
    root: Path, images: Sequence[Image], spec: ModelSpec, advance: Callable[[int], None]
) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(images), CALIBRATION_BATCH):
        some = images[start : start + CALIBRATION_BATCH]
        try:
            yield np.stack([image.load(root / item.path, spec.input) for item in some])
        except ImageError as error:
            raise UsageError(f"{root}: a training image that was readable in training is not: {error}") from error
        advance(len(some))


def _prove(
    path: Path,
    precision: Precision,
    spec: ModelSpec,
    trained: Engine,
    reference: Answered,
    root: Path,
    candidates: Sequence[bytes],
    quiet: bool,
) -> tuple[Exported, list[gate.Shortfall]]:
    """Compare a file with the trained model; where it passes, write its spec into it and replay its golden images."""
    onnx.write_spec(path, msgspec.structs.replace(spec, precision=precision, metrics=None))
    engine = format_of(path).open(path, spec, CPU)
    with progress(f"{path.name} on the test split", len(reference.images), quiet) as advance:
        answered = answer_labelled(engine, spec.input, spec.labels, root, reference.images, advance)
    compared = gate.compare(reference, answered)
    tolerance = TOLERANCES[precision]
    if short := gate.shortfalls(compared, tolerance):  # its answers may be no numbers, which no spec can hold
        return Exported(path, precision, path.stat().st_size, compared), short
    chosen = golden.choose(candidates, trained, engine, spec.input)
    described = msgspec.structs.replace(
        spec,
        precision=precision,
        metrics=metrics(answered.right),
        golden=golden.record(engine, spec.input, tolerance.golden, chosen),
    )
    onnx.write_spec(path, described)
    if not replay(path, CPU).passed:
        raise ModelError(f"{path.name}: it does not repeat its own answers; please report this")
    return Exported(path, precision, path.stat().st_size, compared), []


def _deliver(done: Sequence[Exported], out: Path, scratch: Path) -> list[Exported]:
    """Rename the files into their place, or, where that fails, leave every one that was there.

    Raises `UsageError` where `out` cannot be written.
    """
    targets = {one.path: out / one.path.name for one in done}
    if folders := [target for target in targets.values() if target.is_dir()]:
        raise UsageError(f"{folders[0]}: a folder stands where the file belongs; give another --out")
    kept = {target: scratch / f"old.{target.name}" for target in targets.values() if target.exists()}
    try:
        out.mkdir(exist_ok=True)
        for target, copy in kept.items():
            shutil.copy2(target, copy)
        for made, target in targets.items():
            made.replace(target)
    except BaseException as error:
        for target, copy in kept.items():
            if copy.exists():
                copy.replace(target)
        if isinstance(error, OSError):
            raise UsageError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
        raise
    return [replace(one, path=targets[one.path]) for one in done]
