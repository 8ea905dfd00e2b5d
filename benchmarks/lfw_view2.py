"""LFW View 2, all 6,000 pairs in ten folds, by FaceNet's exported files: the middle of the picture, and aligned faces.

`python benchmarks/lfw_view2.py --tflite` measures the TFLite files too. Nothing is fitted to faces: photographs only
set the ranges of int8, and pass the gate. They are of people of the development set, and no pair of View 2 has any of
them. People cannot be kept apart as well, for nearly all are in some pair: of the development set, 41 people who have
two photographs or more are in none, which are too few.
"""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from common import ROOT, facectl, keep, test_data
from exports import exported
from facectl_runtime.devices import Device
from facectl_runtime.faces.embedder import embed, open_embedder
from facectl_runtime.faces.evaluate import images_of
from facectl_runtime.faces.measured import similarities
from facectl_runtime.faces.pair_files import Pair, read_pairs
from facectl_runtime.metrics import paired_drop
from facectl_runtime.output import columns
from facectl_runtime.verification import Roc, fold_accuracy, measure, roc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from facectl_trainer.reports.canvas import Theme

EACH = 20
"""Photographs of a person at most, of those that calibrate int8 and pass the gate."""
CROPS = {"facenet-plain": "the middle of the picture", "facenet": "found and aligned"}
"""Variants of the recipe."""
FIRST = "onnx fp32"
"""The file of each crop that its others are held against."""
PLOT = ROOT / "docs" / "images" / "lfw_roc.png"


class Compared(NamedTuple):
    """What a file makes of pairs."""

    figures: dict[str, Any]
    right: npt.NDArray[np.bool_]
    """Of each pair that it could compare: whether it is decided rightly, at the threshold of the other folds."""
    curve: Roc


def main() -> None:
    """Make both runs and their files, compare the pairs by each, and print, draw and keep it."""
    formats = "onnx,tflite" if "--tflite" in sys.argv[1:] else "onnx"
    pairs = view2()
    compared: dict[str, Compared] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = link_development(Path(folder, "development"))
        for variant, crop in CROPS.items():
            files = export_facenet(Path(folder), variant, formats)
            rows = {f"{crop}, {name}": compare(path, pairs) for name, path in files.items()}
            first = rows[f"{crop}, {FIRST}"]
            compared |= {name: _against(row, first) for name, row in rows.items()}
    figures = {name: row.figures for name, row in compared.items()}
    print(text(figures))
    draw({name: row.curve for name, row in compared.items()}, sum(not pair.same for pair in pairs))
    keep("lfw_view2", {"pairs": len(pairs), **photographs, "files": figures})


def view2() -> list[Pair]:
    """Read the pairs of View 2."""
    return read_pairs(test_data("lfw-protocol") / "pairs.txt")


def people_of(name: str) -> list[str]:
    """Give who is named in one of LFW's lists of people."""
    lines = (test_data("lfw-protocol") / f"{name}.txt").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines if line]


def link_people(
    out: Path, people: Iterable[str], each: int | None = None, without: frozenset[str] = frozenset()
) -> int:
    """Link photographs of those of `people` who have two or more into folders below `out`; give how many people.

    `each`: photographs a person at most, the first ones; `without`: paths below LFW's folder that are left out.
    """
    lfw, count = test_data("lfw").resolve(), 0
    for person in sorted(set(people)):
        found = (path for path in sorted((lfw / person).glob("*.jpg")) if f"{person}/{path.name}" not in without)
        if len(photographs := list(islice(found, each))) < 2:
            continue
        (out / person).mkdir(parents=True)
        for path in photographs:
            (out / person / path.name).symlink_to(path)
        count += 1
    return count


def link_development(out: Path) -> dict[str, int]:
    """Link photographs of the development set that no pair of View 2 has; give how many, and of how many people."""
    named = frozenset(path for pair in view2() for path in (pair.a, pair.b))
    people = link_people(out, people_of("peopleDevTrain"), EACH, named)
    return {"development_people": people, "development_photographs": len(list(out.rglob("*.jpg")))}


def export_facenet(folder: Path, variant: str, formats: str = "onnx") -> dict[str, Path]:
    """Make a run of FaceNet on the photographs in `folder`/development, and its fp32 and int8 files; by their names."""
    run = folder / variant
    options = ("--variant", variant, "--data", folder / "development", "--out", run, "--no-report", "--quiet")
    facectl("train", "triplet", *options)
    done = exported(run, formats, "fp32,int8")
    for row in done["files"]:
        print(f"{variant}, {row['format']} {row['precision']}: gate {row['gate']}", file=sys.stderr)
    return {f"{row['format']} {row['precision']}": run / "export" / row["file"] for row in done["files"]}


def compare(model: Path, pairs: Sequence[Pair]) -> Compared:
    """Compare pairs as `facectl evaluate MODEL --data LFW --pairs pairs.txt` does, and time it.

    The time is a photograph's, decoded, found, aligned and embedded, with all cores at work.
    """
    embedder = open_embedder(model, Device("cpu"))
    chosen = images_of(pairs, test_data("lfw"))
    started = perf_counter()
    found = embed(embedder, chosen, lambda _: None, None, detect=None)
    seconds = perf_counter() - started
    vectors = found.by_path()
    kept = [pair for pair in pairs if pair.a in vectors and pair.b in vectors]
    scores = similarities(vectors, kept)
    same, folds = np.array([pair.same for pair in kept]), np.array([pair.fold for pair in kept])
    thresholds = fold_accuracy(scores, same, folds).thresholds[np.unique(folds, return_inverse=True)[1]]
    figures = {
        **msgspec.to_builtins(measure(scores, same, folds)),
        "left_out": found.left_out,
        "ms": 1e3 * seconds / len(chosen.images),
        "mb": model.stat().st_size / 1e6,
    }
    return Compared(figures, (scores >= thresholds) == same, roc(scores[same], scores[~same]))


def _against(row: Compared, first: Compared) -> Compared:
    """Add by how much a file is less accurate than the first of its crop; nothing where it compared other pairs."""
    drop = paired_drop(first.right, row.right) if len(row.right) == len(first.right) else None
    return row._replace(figures={**row.figures, "drop": drop})


def text(figures: dict[str, Any]) -> str:
    """Lay out the table."""
    header = ("FaceNet", "accuracy", "±", "drop in points", "95 %", "AUC", "EER", "TAR at FAR 1e-2", "1e-3")
    rows: list[tuple[str, ...]] = [(*header, "ms", "MB", "no face")]
    for name, one in figures.items():
        shares = (percent(one[key]) for key in ("eer", "tar_at_far_1e2", "tar_at_far_1e3"))
        cells = (percent(one["accuracy"]), percent(one["standard_error"]), *_drop(one["drop"]))
        sizes = (f"{one['ms']:.1f}", f"{one['mb']:.1f}", str(len(one["left_out"])))
        rows.append((name, *cells, f"{one['auc']:.5f}", *shares, *sizes))
    return columns(rows, right=range(1, 12))


def percent(share: float | None) -> str:
    """Give a share in percent; nothing where too few pairs measure it."""
    return "" if share is None else f"{100 * share:.2f}"


def _drop(drop: tuple[float, float, float] | None) -> tuple[str, str]:
    if drop is None:
        return "", ""
    points, low, high = (100 * value for value in drop)
    return f"{points:+.2f}", f"{low:+.2f} to {high:+.2f}"


def draw(curves: dict[str, Roc], different: int) -> None:
    """Draw the ROC curves into `PLOT`: a colour a crop, a kind of line a precision; their upper part."""
    from facectl_trainer.reports.canvas import Chart, bare, render
    from facectl_trainer.reports.charts import WIDTH

    least = 1 / different

    def lines(figure: "Figure", theme: "Theme") -> None:
        axes = figure.subplots()
        for name, curve in curves.items():
            colour = theme.series[next(place for place, crop in enumerate(CROPS.values()) if name.startswith(crop))]
            style = (0, (4, 2)) if "int8" in name else "solid"
            width = 1.2 if "tflite" in name else 1.8
            axes.plot(np.maximum(curve.far, least), curve.tar, color=colour, linestyle=style, linewidth=width,
                      drawstyle="steps-post", label=name)  # fmt: skip
        axes.set(xscale="log", xlim=(least, 1), ylim=(0.9, 1.002), ylabel="TAR: pairs of one person accepted (share)",
                 xlabel="FAR: pairs of different people accepted (share)")  # fmt: skip
        axes.xaxis.set_major_formatter("{x:g}")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        bare(axes, "both")

    alt = "Share of LFW's pairs of one person that is accepted against that of different people, by file"
    PLOT.write_bytes(render(Chart("lfw_roc", alt, WIDTH, 4.6, lines)))


if __name__ == "__main__":
    main()
