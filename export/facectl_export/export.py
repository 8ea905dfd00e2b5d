"""Export: from a run folder to a folder of files that passed the gate, all of them or none."""

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
from msgspec.structs import replace

from facectl_export import bundle, golden
from facectl_export.calibration import Calibration, stratified
from facectl_export.formats import WRITERS, base_name
from facectl_export.make import NONE, Workshop
from facectl_export.measured import Export, Exported, Tuning
from facectl_export.order import Order, check, check_layers
from facectl_export.precision import Network
from facectl_export.prove import CPU, Judge, reference
from facectl_export.reports import report
from facectl_export.reports.card import card
from facectl_export.tuning.fine_tune import Material, fine_tune
from facectl_runtime.bench import latency
from facectl_runtime.bench.latency import Latency
from facectl_runtime.engines import AUTO, Engine, format_of
from facectl_runtime.errors import (
    FacectlError,
    GateError,
    MissingExtraError,
    ModelError,
    NoEngineError,
    UsageError,
    reason,
)
from facectl_runtime.evaluate import Answered, evaluation
from facectl_runtime.faces.measured import measure_people
from facectl_runtime.files import remove_abandoned, scratch_beside
from facectl_runtime.image import Pixels, load
from facectl_runtime.labelled import Image
from facectl_runtime.progress import progress
from facectl_runtime.spec import GoldenImage, ModelSpec
from facectl_trainer.engine import engine_of
from facectl_trainer.framework import use_device
from facectl_trainer.model import digest
from facectl_trainer.pixels import decode
from facectl_trainer.reports.output import write_whole
from facectl_trainer.reports.results import Embedded, read_embedded, read_predictions
from facectl_trainer.run import Run, read_run

_REPEATED = 0.05  # |Δp| between two machines, or half and single precision; another network is further off
_REMEASURED = 1e-5  # of an AUC, where sums are taken in another order


class GateFailureError(GateError):
    """Files fell short; carries every comparison, for a report."""

    def __init__(self, export: Export, page: Path) -> None:
        failed = [row for row in export.files if row.gate == "failed"]
        why = "; ".join(f"{row.file}: {shortfall}" for row in failed for shortfall in row.shortfalls)
        hints = [f"leave {_precisions(failed)} out"]
        if any(row.calibration for row in failed):
            hints.append("try another --calibrate or layers for --keep-float")
        if able := [row for row in failed if row.is_number]:
            hints.append(f"let it out with --allow-degraded {_precisions(able)}")
        super().__init__(f"nothing was exported: {why}; {page} shows where. You can {', or '.join(hints)}")
        self.export = export


def _precisions(rows: Sequence[Exported]) -> str:
    return ",".join(dict.fromkeys(row.precision for row in rows))


def export(order: Order) -> Export:
    """Make every file asked for, prove each, and only then put them into `order.out`.

    Raises `GateFailureError` where a file does not answer as the trained model does, and `UsageError` for what cannot
    be made; what stood in `out` is then untouched.
    """
    started = time.perf_counter()
    run = read_run(order.run)
    check(order, run)
    there = bundle.standing(order.out)
    root, tests = run.images("test", order.data)
    train, val = _learnt_from(order, run)
    use_device(CPU)
    model = run.model()
    network = digest(model)
    check_layers(order, model)
    earlier = bundle.of_network(there, network, order.force, order.out)
    trained = engine_of(model, "cpu")
    wanted = reference(trained, run.spec, root, tests, order.quiet)
    _check_unedited(run, wanted)
    judge = Judge(run.spec, trained, root, wanted, _golden(run, root, wanted), val, order.degraded, order.quiet)
    with _scratch(order.out) as scratch:
        shop = _workshop(order, run, model, train, judge, scratch)
        rows = tuple(judge.prove(made) for made in shop.make(order.cells))
        done = Export(
            name=run.spec.name,
            task=run.spec.task,
            network_sha256=network,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
            n_test=len(wanted.images),
            accuracy=float(wanted.right.mean()) if run.spec.labels else None,
            seconds=0.0,
            peak_bytes=0,
            files=rows,
        )
        _refuse(order, run, done, root)
        done = _timed(bundle.merged(done, earlier), order, run, scratch)
        done = replace(done, seconds=round(time.perf_counter() - started, 1), peak_bytes=_peak_bytes())
        paths = {row.file: scratch / row.file for row in rows}
        bundle.deliver(done, paths, _pages(run, done, wanted, root), order.out, scratch, order.force)
    _failed_page(order).unlink(missing_ok=True)
    return done


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` for all that is written on the way. Raises `FacectlError` where the disk is full."""
    remove_abandoned(out)
    with scratch_beside(out) as scratch:
        try:
            yield scratch
        except OSError as error:
            if isinstance(error, FacectlError):
                raise
            why = f"cannot be written ({error.strerror or reason(error)}); nothing there was changed"
            raise FacectlError(f"{out}: {why}; make room, or give another --out") from error


def _check_unedited(run: Run, wanted: Answered) -> None:
    """Refuse a run whose model and labels, or people, are not those that training measured. Raises `ModelError`."""
    if run.spec.labels:
        recorded = read_predictions(run.folder, run.spec.labels)
        same, answers = recorded.images == wanted.images, recorded.probabilities
    else:
        embedded = read_embedded(run.folder)
        same, answers = _same_people(embedded), embedded.embeddings.astype(np.float64)
    if not same or np.abs(answers - wanted.probabilities).max() > _REPEATED:
        raise ModelError(
            f"{run.folder}: its model does not answer the test split as training recorded: a file in it was changed; "
            "restore it, or train again"
        )


def _same_people(run: Embedded) -> bool:
    """Tell whether the test photographs are of the people that training measured, whatever these are called."""
    people = [image.label for image in run.images]
    found, known = measure_people(run.embeddings, people, run.run.spec.provenance.seed), run.metrics.test
    return (found.same, found.different) == (known.same, known.different) and abs(found.auc - known.auc) <= _REMEASURED


def _golden(run: Run, root: Path, wanted: Answered) -> list[GoldenImage]:
    size = run.spec.input
    return golden.patterns(size) if run.recipe.shows_people else golden.photographs(root, wanted.images, size)


def _learnt_from(order: Order, run: Run) -> tuple[list[Image], list[Image]]:
    """Give the images of train and of val, as far as the files asked for need them, each found to be what it was."""
    tuned = any(cell.recipe.network != "trained" for cell in order.cells)
    integer = any(cell.recipe.integer == "arithmetic" for cell in order.cells)
    train = run.images("train", order.data)[1] if integer or tuned else []
    judged = integer and (order.keep_float != NONE or order.method == "auto")
    val = run.images("val", order.data)[1] if tuned or judged else []
    return train, val


def _workshop(order: Order, run: Run, model: Any, train: Sequence[Image], judge: Judge, scratch: Path) -> Workshop:
    def network(name: Network) -> tuple[Any, Tuning | None]:
        return (model, None) if name == "trained" else _fine_tuned(order, run, model, train, judge, name)

    chosen = stratified(train, order.calibration_images)
    calibrated = Calibration(judge.root, chosen, run.spec.input, order.method)
    return Workshop(
        run.spec, network, calibrated, order.settings, order.keep_float, judge.on_val(), scratch, order.quiet
    )


def _fine_tuned(
    order: Order, run: Run, model: Any, train: Sequence[Image], judge: Judge, network: Network
) -> tuple[Any, Tuning]:
    images = [*train, *judge.val]
    with progress("decoding photographs to fine-tune on", len(images), order.quiet) as advance:
        pixels, errors = decode(judge.root, images, run.split.hashes, run.spec.input, advance)
    if errors:
        path, why = next(iter(errors.items()))
        raise UsageError(f"{judge.root / path}: {why}; it was readable in training: restore it, or train again")
    material = Material(
        [pixels[item.path] for item in train],
        [pixels[item.path] for item in judge.val],
        np.array([run.spec.labels.index(item.label) for item in judge.val]),
    )
    with progress(f"{network} fine-tuning", 1, order.quiet) as advance:
        return fine_tune(model, network, material, order.epochs, run.spec.provenance.seed, advance)


def _refuse(order: Order, run: Run, done: Export, root: Path) -> None:
    """Raise `GateFailureError` where a file fell short and was not let through; a page beside `out` shows where."""
    if any(row.gate == "failed" for row in done.files):
        write_whole(_failed_page(order), report.page(done, _pictures(run, done, root)))
        raise GateFailureError(done, _failed_page(order))


def _failed_page(order: Order) -> Path:
    return order.out.with_name(f"{order.out.name}.failed.html")


def _timed(done: Export, order: Order, run: Run, scratch: Path) -> Export:
    """Add how long each file takes to answer: all that can run here side by side, those carried over included.

    A float file that an int8 file was made of is timed beside it, though it may not leave. A file carried over that
    does not run here keeps the time that it had. What stands in for Core ML is not timed: an app does not run it.
    """
    paths = {row.file: (scratch if (scratch / row.file).exists() else order.out) / row.file for row in done.files}
    run_here = [one for one, writer in WRITERS.items() if writer.judge == AUTO]
    networks: tuple[Network, ...] = get_args(Network)  # other weights, and the same layers: as fast as each other
    names = [(one, base_name(network, "fp32", WRITERS[one].suffix)) for network in networks[::-1] for one in run_here]
    bases = {f"{one} fp32": scratch / name for one, name in names if (scratch / name).exists()}
    runnable = {row.file: paths[row.file] for row in done.files if row.format in run_here or row.latency}
    known = {row.format for row in done.files if row.precision == "fp32"}
    beside = {name: path for name, path in bases.items() if name.split()[0] not in known}
    engines = list(_engines(runnable | beside, run.spec, scratch))
    if not engines:
        return done
    with progress("timing the files side by side", 1, order.quiet) as advance:
        times = latency.measure(engines, run.spec.input)
        advance(1)
    base: dict[str, float] = {name.split()[0]: times[name].median for name in beside}
    base |= {row.format: times[row.file].median for row in done.files if row.precision == "fp32" and row.file in times}
    rows = (_with_time(row, times.get(row.file), base.get(row.format)) for row in done.files)
    return replace(done, files=tuple(rows))


def _engines(paths: Mapping[str, Path], spec: ModelSpec, scratch: Path) -> Iterator[tuple[str, Engine]]:
    """Open files by name, without those of an earlier export that nothing installed here runs."""
    for name, path in paths.items():
        try:
            yield name, format_of(path).open(path, spec, CPU)
        except (MissingExtraError, NoEngineError):
            if path.parent == scratch:
                raise


def _with_time(row: Exported, took: Latency | None, base: float | None) -> Exported:
    """Add the time that a file took, and whether it is an integer one that took longer than `base` milliseconds."""
    if took is None:
        return row
    slower = row.slower_than_float if base is None else row.is_integer and took.median > base
    return replace(row, latency=took, slower_than_float=slower)


def _pages(run: Run, done: Export, wanted: Answered, root: Path) -> dict[str, str | bytes]:
    labels, people = run.spec.labels, [image.label for image in wanted.images]
    measured = (
        evaluation(wanted, labels) if labels else measure_people(wanted.probabilities, people, run.spec.provenance.seed)
    )
    return {
        bundle.PAGE: report.page(done, _pictures(run, done, root)),
        bundle.CARD: card(
            run.spec, done, measured, run.split, people=run.recipe.shows_people, trained=bool(run.recipe.stages)
        ),
    }


def _pictures(run: Run, done: Export, root: Path) -> dict[str, Pixels]:
    """Load the images that a report shows. Of people none: a face is personal data, and an export is passed on."""
    if run.recipe.shows_people:
        return {}
    paths = {found.path for row in done.files for found in row.worst}
    return {path: load(root / path, run.spec.input) for path in sorted(paths) if (root / path).is_file()}


def _peak_bytes() -> int:
    """Give the most memory that this process held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
