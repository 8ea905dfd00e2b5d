"""A benchmark as people read it: tables, and what to doubt in them."""

from collections.abc import Sequence
from pathlib import Path

from facectl_runtime.bench.benchmark import Benchmark, Measured
from facectl_runtime.errors import one_line
from facectl_runtime.output import columns

UNSTEADY = 0.25
"""Spread from which the times are doubted; docs/benchmark.md says what was measured."""
BUSY = 0.1
"""Share of all processors that others take, from which the times are doubted."""


def text(found: Benchmark) -> str:
    """Lay out what was found, a table a subject."""
    names = names_of(found)
    tables = [_times(found, names), _throughput(found, names)]
    if found.data is not None:
        tables.append(_answers(found, names))
    return "\n\n".join(tables)


def names_of(found: Benchmark) -> list[str]:
    """Name the models: by their files' names, or by the paths given where two files have one name."""
    short = [Path(one.model).name for one in found.models]
    return [
        one_line(name) for name in (short if len(set(short)) == len(short) else [one.model for one in found.models])
    ]


def doubts(found: Benchmark) -> list[str]:
    """Say what disturbed the times, a line each; nothing where nothing did."""
    said = []
    worst, name = max(
        (max([one.spread, *(rate.spread for rate in one.throughput)]), name)
        for one, name in zip(found.models, names_of(found), strict=True)
    )
    if worst >= UNSTEADY:
        said.append(
            f"the machine was not steady: the middle half of the turns of {name} spans {worst:.0%} of their median; "
            "end other programs, or give more --seconds"
        )
    if found.busy_elsewhere is not None and found.busy_elsewhere >= BUSY:
        said.append(
            f"other processes took {found.busy_elsewhere:.0%} of all processors meanwhile: the times are too long; "
            "end them and measure again"
        )
    return said


def _times(found: Benchmark, names: Sequence[str]) -> str:
    header = ("model", "ms", "p95", "× first", "spread", "cold start, s", "from – to", "peak MB", "MB", "engine")
    rows = [header, *(_cells(one, name) for one, name in zip(found.models, names, strict=True))]
    return columns(rows, right=range(1, 9))


def _cells(one: Measured, name: str) -> tuple[str, ...]:
    process = one.process
    cold = process and process.cold_start
    return (
        name,
        f"{one.latency.median:.2f}",
        f"{one.latency.p95:.2f}",
        f"{one.ratio:.2f}",
        f"{one.spread:.0%}",
        f"{cold.median:.2f}" if cold else "–",
        f"{cold.least:.2f} – {cold.most:.2f}" if cold else "–",
        f"{process.peak_bytes / 1e6:.0f}" if process and process.peak_bytes else "–",
        f"{one.bytes / 1e6:.1f}",
        f"{one.engine} on {one.device}",
    )


def _throughput(found: Benchmark, names: Sequence[str]) -> str:
    batches = sorted({rate.batch for one in found.models for rate in one.throughput})
    rows = [("images a second, by batch", *map(str, batches))]
    for one, name in zip(found.models, names, strict=True):
        rates = {rate.batch: f"{rate.images_per_second:.0f}" for rate in one.throughput}
        rows.append((name, *(rates.get(batch, "–") for batch in batches)))
    return columns(rows, right=range(1, len(batches) + 1))


def _answers(found: Benchmark, names: Sequence[str]) -> str:
    rows = [("model", "accuracy", "95 % interval", "n", "as the first", "95 % interval", "largest |Δp|")]
    for one, name in zip(found.models, names, strict=True):
        if quality := one.quality:
            right, same = quality.accuracy, quality.agreement
            agrees = (f"{same.share:.4f}", _interval(same.interval), f"{same.largest:.2g}") if same else ("–",) * 3
            rows.append((name, f"{right.accuracy:.4f}", _interval(right.interval), str(right.n), *agrees))
    return columns(rows, right=range(1, 7))


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} – {ends[1]:.4f}"
