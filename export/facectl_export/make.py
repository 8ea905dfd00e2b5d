"""Making: from a run to a file a cell, each network fine-tuned once, and converted and calibrated once a format."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facectl_export.calibration import Calibration
from facectl_export.formats import WRITERS, Quantizer, Settings, base_name, file_name
from facectl_export.gate import shortfalls
from facectl_export.measured import KeptFloat, Tuning
from facectl_export.precision import Cell, Network, Tolerance
from facectl_export.ranges import Ranges
from facectl_export.sensitivity import Compare, Whole, distance, keep_float, keep_named
from facectl_export.tuning.fold import LOGITS
from facectl_runtime.errors import UsageError, did_you_mean
from facectl_runtime.progress import progress
from facectl_runtime.spec import ModelSpec
from facectl_trainer.model import PROBABILITIES

AUTO, NONE = "auto", "none"  # what `--keep-float` takes beside layers' names


@dataclass(frozen=True)
class Made:
    """A file that nothing is known of yet."""

    cell: Cell
    path: Path
    target: str
    """The least that runs it."""
    seconds: float
    calibration: str
    kept_float: KeptFloat | None = None
    tuning: Tuning | None = None


@dataclass
class Workshop:
    """What files are made of, and what was made of it so far."""

    spec: ModelSpec
    network: Callable[[Network], tuple[Any, Tuning | None]]
    """Gives the Keras model of that name, uint8 N × height × width × 3 → float32 N × size."""
    calibration: Calibration
    settings: Settings
    keep: str | Sequence[str]
    """The layers that stay float in int8 files: `auto`, `none`, or their names."""
    compare: Compare
    """Compares a file with the trained model on val."""
    scratch: Path
    quiet: bool
    _model: tuple[Network, Any, Tuning | None] | None = None
    _bases: dict[tuple[str, Network, str], Path] = field(default_factory=dict)

    def make(self, cells: Sequence[Cell]) -> Iterator[Made]:
        """Make the files into `scratch`, one network after the other, so that no two of them are in memory."""
        for cell in sorted(cells, key=lambda cell: _NETWORKS.index(cell.recipe.network)):
            started = time.perf_counter()
            writer = WRITERS[cell.format]
            path = self.scratch / file_name(self.spec, cell.precision, writer.suffix)
            base = self._base(cell)
            kept, how = None, ""
            if derive := writer.derive.get(cell.precision):
                with self._step(f"writing {path.name}"):
                    derive(base, path)
            else:
                assert writer.quantizer is not None
                how, kept = self._quantize(cell, writer.quantizer, base, path)
            tuning = self._model[2] if self._model else None
            yield Made(cell, path, self.settings.target(cell), time.perf_counter() - started, how, kept, tuning)

    def _base(self, cell: Cell) -> Path:
        """Convert the network of a cell to its format, in float."""
        writer, network = WRITERS[cell.format], cell.recipe.network
        kind = writer.bases[cell.precision]
        model = self._current(network)
        key = (cell.format, network, kind)
        if key not in self._bases:
            path = self.scratch / base_name(network, kind, writer.suffix)
            with self._step(f"converting to {cell.format}, {kind}"):
                writer.write_base(model, self.spec, path, kind, self.settings)
            self._bases[key] = path
        return self._bases[key]

    def _current(self, network: Network) -> Any:
        if self._model is None or self._model[0] != network:
            self._model = None  # let go of the one before
            self._model = (network, *self.network(network))
        return self._model[1]

    def _quantize(self, cell: Cell, quantizer: Quantizer, base: Path, path: Path) -> tuple[str, KeptFloat | None]:
        """Write an int8 file, and say how its ranges were found and which layers stayed float."""
        layers = quantizer.layers(base)
        count = len(self.calibration.images)
        with progress(f"{cell.format} {cell.precision}, calibration images", count, self.quiet) as advance:
            candidates = quantizer.calibrate(base, self.calibration.batches(advance), count, self.calibration.method)
        if self.keep == NONE and len(candidates) == 1:
            quantizer.write(base, candidates[0], path, ())
            return self.calibration.words(candidates[0].how), None
        ranges, whole = self._nearest(candidates, quantizer, base, path, cell.recipe.tolerance)
        how = self.calibration.words(ranges.how)
        if self.keep == NONE or (self.keep == AUTO and not shortfalls(whole.compared, cell.recipe.tolerance)):
            return how, None

        def write(keep: Collection[str]) -> Path:
            quantizer.write(base, ranges, path, keep)
            return path

        if not isinstance(self.keep, str):
            return how, keep_named(write, self.compare, whole, _named(self.keep, layers, path.name))
        with progress(f"{path.name}: layers that quantization hurts", len(layers), self.quiet) as advance:
            return how, keep_float(write, self.compare, whole, layers, cell.recipe.tolerance, advance)

    def _nearest(
        self, candidates: Sequence[Ranges], quantizer: Quantizer, base: Path, path: Path, tolerance: Tolerance
    ) -> tuple[Ranges, Whole]:
        """Write the file whose ranges bring it nearest to the trained model on val; one within tolerance, if any is."""
        found = []
        with progress(f"{path.name}: candidates for its ranges", len(candidates), self.quiet) as advance:
            for ranges in candidates:
                quantizer.write(base, ranges, path, ())
                compared = self.compare(path)
                rank = bool(shortfalls(compared, tolerance)), distance(compared)
                found.append((rank, ranges, Whole(compared, path.stat().st_size), path.read_bytes()))
                advance(1)
        _, ranges, whole, written = min(found, key=lambda one: one[0])
        path.write_bytes(written)
        return ranges, whole

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        with progress(what, 1, self.quiet) as advance:
            yield
            advance(1)


def _named(names: Sequence[str], layers: Collection[str], file: str) -> list[str]:
    """Give the layers that are to stay float as a file has them. Raises `UsageError` for one that it has not."""
    found = [LOGITS if name == PROBABILITIES and LOGITS in layers else name for name in names]
    if strange := next((name for name in found if name not in layers), None):
        raise UsageError(
            f"--keep-float {strange}: no convolution or dense layer of {file}{did_you_mean(strange, layers)}; "
            f"it has {', '.join(layers)}"
        )
    return found


_NETWORKS: tuple[Network, ...] = ("trained", "quantize-aware", "pruned", "clustered")
