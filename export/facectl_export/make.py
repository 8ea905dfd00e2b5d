"""Making: from a run to a file a cell, each network fine-tuned, converted and calibrated no more than once."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facectl_export.calibration import Calibration
from facectl_export.formats import WRITERS, Quantizer, Settings, base_name, file_name
from facectl_export.measured import KeptFloat, Tuning
from facectl_export.precision import Cell, Network
from facectl_export.ranges import Ranges
from facectl_export.sensitivity import Compare, distance, keep_float, keep_named
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
    _ranges: dict[str, Ranges] = field(default_factory=dict)
    """By format, of the network at hand."""

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
                ranges = self._ranges_of(cell, writer.quantizer, base, path)
                how = self.calibration.words(ranges.how)
                kept = self._quantize(cell, writer.quantizer, base, path, ranges)
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
            self._ranges.clear()  # they hold it too
            self._model = (network, *self.network(network))
        return self._model[1]

    def _quantize(self, cell: Cell, quantizer: Quantizer, base: Path, path: Path, ranges: Ranges) -> KeptFloat | None:
        layers = quantizer.layers(base)

        def write(keep: Collection[str]) -> Path:
            quantizer.write(base, ranges, path, keep)
            return path

        if self.keep == NONE:
            write(())
            return None
        with progress(f"{path.name}: what quantization hurts", len(layers), self.quiet) as advance:
            if isinstance(self.keep, str):
                return keep_float(write, self.compare, layers, cell.recipe.tolerance, advance)
            return keep_named(write, self.compare, _named(self.keep, layers, path.name))

    def _ranges_of(self, cell: Cell, quantizer: Quantizer, base: Path, path: Path) -> Ranges:
        if cell.format not in self._ranges:
            count = len(self.calibration.images)
            with progress(f"{cell.format} {cell.precision}, calibration images", count, self.quiet) as advance:
                batches = self.calibration.batches(advance)
                found = quantizer.calibrate(base, batches, count, self.calibration.method)
            self._ranges[cell.format] = self._nearest(found, quantizer, base, path)
        return self._ranges[cell.format]

    def _nearest(self, candidates: Sequence[Ranges], quantizer: Quantizer, base: Path, path: Path) -> Ranges:
        """Choose the ranges whose file is nearest to the trained model on val."""
        if len(candidates) == 1:
            return candidates[0]
        distances = []
        with progress(f"{path.name}: which ranges are best", len(candidates), self.quiet) as advance:
            for ranges in candidates:
                quantizer.write(base, ranges, path, ())
                distances.append(distance(self.compare(path)))
                advance(1)
        return candidates[distances.index(min(distances))]

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
