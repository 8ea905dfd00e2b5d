"""Proving: one file against the trained model, and what the file then says of itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from facectl_export import golden
from facectl_export.bundle import size, zipped_size
from facectl_export.calibration import stratified
from facectl_export.formats import WRITERS
from facectl_export.gate import Comparison, EmbeddingComparison, by_name_only, compare, compare_embeddings, shortfalls
from facectl_export.make import Made
from facectl_export.measured import Disagreement, Exported
from facectl_runtime.devices import Device
from facectl_runtime.engines import Engine, format_of
from facectl_runtime.errors import ModelError, NoEngineError, UsageError
from facectl_runtime.evaluate import Answered, answer_labelled, metrics
from facectl_runtime.labelled import Image
from facectl_runtime.progress import progress
from facectl_runtime.spec import Gate, GoldenImage, ModelSpec, Precision
from facectl_runtime.verify import replay

CPU = Device("cpu")  # what the gate runs on: the same everywhere
_REPEATED = 1e-5  # largest |difference| of a file from itself on one machine; its answers are kept to 6 decimals
_WORST = 8
_VAL = 256  # images that the layers of an int8 file are chosen by


@dataclass(frozen=True)
class Judge:
    """The trained model and its answers, which files are held to."""

    spec: ModelSpec
    trained: Engine
    root: Path
    reference: Answered
    """Its answers to the test split."""
    candidates: Sequence[GoldenImage]
    """Pictures that may become golden images, not answered yet."""
    val: Sequence[Image]
    degraded: frozenset[Precision]
    """Precisions of which a file that falls short is let through, and says so."""
    quiet: bool

    def prove(self, made: Made) -> Exported:
        """Compare a file with the trained model; where it may leave, write into it what was found."""
        started = time.perf_counter()
        cell, path = made.cell, made.path
        try:
            engine = format_of(path, WRITERS[cell.format].judge).open(path, self.spec, CPU)
        except NoEngineError:  # an op that only Core ML knows, or nothing that offers an engine
            engine = None
        answered = self._answers(engine, path.name) if engine else None
        compared = self._compare(answered) if answered else None
        share = WRITERS[cell.format].share(path)
        short = [str(one) for one in shortfalls(compared, cell.recipe.tolerance)] if compared else []
        if cell.recipe.integer and (named := by_name_only(share, cell.recipe.integer)):
            short.append(named)
        verdict: Gate = "degraded" if short else "passed" if engine else "unverified"
        row = Exported(
            file=path.name,
            format=cell.format,
            precision=cell.precision,
            target=made.target,
            size=0,
            zipped=0,
            gate=verdict,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(made.seconds + time.perf_counter() - started, 1),
            engine=engine.name if engine else "",
            comparison=compared,
            shortfalls=tuple(short),
            integer=share,
            calibration=made.calibration,
            kept_float=made.kept_float,
            tuning=made.tuning,
            worst=self._worst(answered) if answered and self.spec.labels else (),
        )
        if short and not (row.is_number and cell.precision in self.degraded):
            row = replace(row, gate="failed")
        else:
            self._sign(made, engine, answered, verdict)
        return replace(row, size=size(path), zipped=zipped_size(path))  # with all that it says of itself

    def _answers(self, engine: Engine, name: str) -> Answered:
        images = self.reference.images
        with progress(f"{name} on the test split", len(images), self.quiet) as advance:
            return _answered(engine, self.spec, self.root, images, advance)

    def _compare(self, answered: Answered) -> Comparison | EmbeddingComparison:
        return _compared(self.spec, self.reference, answered)

    def _sign(self, made: Made, engine: Engine | None, answered: Answered | None, verdict: Gate) -> None:
        """Write the file's own answers, accuracy and verdict into it, and see it repeat them."""
        allowed = made.cell.recipe.tolerance
        # What could not be run carries the trained model's answers, which it may miss by as much as the gate allows.
        tolerance = allowed.golden if engine else allowed.largest
        chosen = golden.choose(self.candidates, self.trained, engine or self.trained, self.spec.input)
        signed = replace(
            self.spec,
            precision=made.cell.precision,
            gate=verdict,
            threshold=None,  # its rates would have to be this file's own
            metrics=metrics(answered.right) if answered and self.spec.labels else None,
            golden=golden.record(engine or self.trained, self.spec.input, tolerance, chosen),
        )
        WRITERS[made.cell.format].write_spec(made.path, signed)
        judge = WRITERS[made.cell.format].judge
        if engine and not (largest := replay(made.path, CPU, judge).largest) <= _REPEATED:
            raise ModelError(
                f"{made.path.name}: it does not repeat its own answers: with its spec in it, they differ by up to "
                f"{largest:.2g}, and at most {_REPEATED:g} is allowed; please report this"
            )

    def _worst(self, answered: Answered) -> tuple[Disagreement, ...]:
        """Give the images with another likeliest class, most unlike first."""
        before, after = self.reference.probabilities, answered.probabilities
        largest = np.abs(before - after).max(axis=1)
        differ = np.flatnonzero(before.argmax(axis=1) != after.argmax(axis=1))
        return tuple(
            Disagreement(
                path=answered.images[place].path,
                label=answered.images[place].label,
                trained=self.spec.labels[before[place].argmax()],
                trained_probability=float(before[place].max()),
                exported=self.spec.labels[after[place].argmax()],
                exported_probability=float(after[place].max()),
                largest=float(largest[place]),
            )
            for place in differ[np.argsort(-largest[differ], kind="stable")][:_WORST]
        )

    def on_val(self) -> Callable[[Path], Comparison | EmbeddingComparison]:
        """Give a function that compares a file with the trained model on val."""
        images = stratified(self.val, _VAL)
        wanted: list[Answered] = []

        def answer(engine: Engine) -> Answered:
            return _answered(engine, self.spec, self.root, images, lambda _: None)

        def measure(path: Path) -> Comparison | EmbeddingComparison:
            wanted[:] = wanted or [answer(self.trained)]
            return _compared(self.spec, wanted[0], answer(format_of(path).open(path, self.spec, CPU)))

        return measure


def _compared(spec: ModelSpec, wanted: Answered, answered: Answered) -> Comparison | EmbeddingComparison:
    return compare(wanted, answered) if spec.labels else compare_embeddings(wanted, answered)


def reference(trained: Engine, spec: ModelSpec, root: Path, images: Sequence[Image], quiet: bool) -> Answered:
    """Answer the test split by the trained model. Raises `UsageError` for an image that cannot be read any more."""
    with progress("trained model on the test split", len(images), quiet) as advance:
        return _answered(trained, spec, root, images, advance)


def _answered(
    engine: Engine, spec: ModelSpec, root: Path, images: Sequence[Image], advance: Callable[[int], None]
) -> Answered:
    labels = spec.labels or sorted({image.label for image in images})  # an embedding has none
    answered = answer_labelled(engine, spec.input, labels, root, images, advance)
    if answered.unreadable:
        first, reason = answered.unreadable[0]
        raise UsageError(f"{root / first}: {reason}; it was readable in training: is an extra (heic) missing here?")
    return answered
