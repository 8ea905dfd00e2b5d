"""Every file of an export side by side, as text: what the page and the card show."""

from itertools import compress

from facectl_export.gate import Comparison, EmbeddingComparison
from facectl_export.measured import Export, Exported
from facectl_runtime.engines.coreml import REFERENCE

_TOP1 = ("top-1", "drop in points [95\u00a0%]", "agreement", "largest Δp", "KL")
_COSINE = ("mean cosine [95\u00a0%]", "least cosine", "largest Δ", "largest |norm - 1|")
_SPEED = ("integer ops", "weights ≤ 8 bits, %", "ms, median", "p95", "× fp32")


def columns(export: Export) -> tuple[tuple[str, ...], list[tuple[str | None, ...]]]:
    """Give the header and a row a file, as text, of all that was measured of any; None where it was not."""
    embed = export.task == "embed"
    measures = _COSINE if embed else _TOP1
    header = ("file", "gate", "runs from", "MB", "MB zipped", *measures, *_SPEED)
    rows = [
        (
            one.file,
            one.gate,
            one.target,
            f"{one.size / 1e6:.2f}",
            f"{one.zipped / 1e6:.2f}",
            *(_compared(one) or (None,) * len(measures)),
            *_speed(one, export),
        )
        for one in export.files
    ]
    known = [any(row[place] is not None for row in rows) for place in range(len(header))]
    return tuple(compress(header, known)), [tuple(compress(row, known)) for row in rows]


def remarks(export: Export) -> list[str]:
    """Say what nobody should miss: which files fall short, do not pay here, or were not tried."""
    said = []
    for one in export.files:
        if one.gate == "failed":
            said.append(
                f"{one.file} failed: it does not answer as the trained model does ({'; '.join(one.shortfalls)})."
            )
        if one.gate == "degraded":
            said.append(
                f"{one.file} is degraded: it does not answer as the trained model does, and was let out on request "
                f"({'; '.join(one.shortfalls)})."
            )
        if one.slower_than_float:
            base = _fp32(one, export)
            times = f": {one.latency.median:.2f} ms an image, and {base:.2f} as fp32" if one.latency and base else ""
            said.append(f"{one.file} is slower than float on this machine{times}.")
    if stood_in := next((one.engine for one in export.files if one.engine.startswith(REFERENCE)), None):
        said.append(
            f"Core ML files were judged by their programs as ONNX Runtime runs them ({stood_in}), rounded as they "
            "declare: Core ML itself is on Apple's systems alone."
        )
    untried = [one.file for one in export.files if one.gate == "unverified"]
    if untried:
        are, them = ("is", "it") if len(untried) == 1 else ("are", "them")
        said.append(
            f"{', '.join(untried)} {are} unverified: nothing on the machine that exported {them} could run {them}."
        )
    return said


def _compared(one: Exported) -> tuple[str | None, ...] | None:
    found = one.comparison
    if isinstance(found, Comparison):
        low, high = found.drop_interval
        drop = f"{100 * found.drop:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
        return f"{found.accuracy:.4f}", drop, f"{found.agreement:.4f}", f"{found.largest:.2g}", f"{found.kl:.2g}"
    if isinstance(found, EmbeddingComparison):
        low, high = found.cosine_interval
        norm = None if found.norm is None else f"{found.norm:.2g}"
        return f"{found.cosine:.5f} [{low:.5f}, {high:.5f}]", f"{found.least:.5f}", f"{found.largest:.2g}", norm
    return None


def _speed(one: Exported, export: Export) -> tuple[str | None, ...]:
    share, time, base = one.integer, one.latency, _fp32(one, export)
    return (
        f"{share.ops}/{share.ops_of}" if share else None,
        f"{100 * share.weights / max(share.weights_of, 1):.1f}" if share else None,
        f"{time.median:.2f}" if time else None,
        f"{time.p95:.2f}" if time else None,
        f"{time.median / base:.2f}" if time and base else None,
    )


def _fp32(one: Exported, export: Export) -> float | None:
    """Give the milliseconds of the fp32 file of the same format."""
    same = (other for other in export.files if (other.format, other.precision) == (one.format, "fp32"))
    return next((other.latency.median for other in same if other.latency), None)
