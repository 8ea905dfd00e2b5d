"""The page of an export, which opens alone: every file side by side, and the images that they answer differently."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from facectl_export.measured import Disagreement, Export, Exported, Tuning
from facectl_export.reports.charts import latency_chart, size_chart
from facectl_export.reports.table import columns, remarks
from facectl_runtime.image import Pixels
from facectl_runtime.metrics import wilson
from facectl_trainer.reports import page as house
from facectl_trainer.reports.cards import Card
from facectl_trainer.reports.page import Section

SHOWN = 24
"""Most images in the section of disagreements: those that a file answers most unlike."""
_SIDE = 170
_TIMES = (
    "Milliseconds are of one image at a time (of a file of a constant batch, of a whole one, divided by its size), "
    "pixels to answer, all files in turn; × fp32 is the time against that of the fp32 file of the same format."
)
_UNBROKEN = "<style>#files td.name { white-space: nowrap; }</style>"


def page(export: Export, pictures: Mapping[str, Pixels]) -> bytes:
    """Write the page, UTF-8.

    `pictures`: path of a disagreement to uint8 RGB, height × width × 3, as the model sees it; one that is not among
    them is named and not shown. Raises `MissingExtraError` without matplotlib.
    """
    built = (_files, _charts, _kept_float, _tunings, lambda one: _disagreements(one, pictures))
    sections = [part for build in built if (part := build(export)) is not None]
    body = [
        *_headline(export),
        *map(house.note, remarks(export)),
        house.contents(sections),
        *map(house.section, sections),
    ]
    return house.page(f"{export.name}: export", body, wide=True)


def _headline(export: Export) -> Iterator[str]:
    count = f"{len(export.files)} file" + "s" * (len(export.files) != 1)
    yield house.title(f"{export.name}: {count} of one network")
    if export.accuracy is None:
        yield house.paragraph(f"An embedding, compared with the trained model's on {export.n_test} test images.")
    else:
        low, high = wilson(round(export.accuracy * export.n_test), export.n_test)
        yield house.figure(f"{100 * export.accuracy:.1f} %", "top-1 of the trained model")
        yield house.paragraph(
            f"of {export.n_test} test images are answered rightly; the 95 % interval is "
            f"{100 * low:.1f} to {100 * high:.1f} %."
        )
    yield house.definitions(
        [
            ("machine", export.machine),
            ("exported", export.created.replace("T", " ").replace("Z", " UTC")),
            (
                "last export took",
                f"{export.seconds / 60:.1f} minutes, {export.peak_bytes / 1e9:.1f} GB of memory at most",
            ),
            *([("ranges of int8", export.calibration)] if export.calibration else []),
            ("network", f"{export.network_sha256[:16]}…"),
        ]
    )


def _files(export: Export) -> Section:
    header, rows = columns(export)
    brackets = (
        "Brackets are 95 % intervals, of the drop those for matched pairs (Agresti & Min 2005): above 0 is accuracy "
        "lost. Agreement is the share of test images with the trained model's likeliest class."
        if export.task == "classify"
        else "Brackets are 95 % intervals."
    )
    compared = any(one.comparison for one in export.files)
    return Section(
        "files",
        "Every file",
        f"All figures are of the very file. {brackets} {_TIMES if any(one.latency for one in export.files) else ''}"
        if compared
        else "Nothing here could run these files.",
        html=_UNBROKEN + house.table(header, rows, right=range(3, len(header))),
    )


def _charts(export: Export) -> Section | None:
    drawn = [chart for chart in (size_chart(export), latency_chart(export)) if chart]
    if not drawn:
        return None
    both = "".join(f'<div style="flex: 0 1 auto; min-width: 0">{house.chart(chart)}</div>' for chart in drawn)
    return Section(
        "size",
        f"Size, {'cosine' if export.task == 'embed' else 'accuracy'} and time",
        "Left and high is better. Thin lines are 95 % intervals; files of nearly one size stand side by side, and the "
        "names above are in the order of the dots.",
        html=f'<div style="display: flex; flex-wrap: wrap; gap: 1rem 2rem">{both}</div>',
    )


def _kept_float(export: Export) -> Section | None:
    rows, lists = [], []
    for one in export.files:
        if kept := one.kept_float:
            gained = f"{kept.agreement_before:.4f} → {kept.agreement:.4f}"
            sizes = f"{kept.bytes_before / 1e6:.2f} → {kept.bytes / 1e6:.2f}"
            rows.append((one.file, str(len(kept.layers)), gained, str(kept.n), sizes))
            lists.append(f"<h3>{escape(one.file)}</h3>" + house.paragraph(", ".join(kept.layers)))
    if not rows:
        return None
    header = (
        "file",
        "layers kept float",
        "agreement on val" if export.task == "classify" else "cosine on val",
        "images",
        "MB",
    )
    return Section(
        "kept-float",
        "Layers that stayed float",
        "What quantization hurts most, measured on val alone, is left in float until the file agrees with the trained "
        "model: first everything quantized, then with these layers float, those that it hurts most first.",
        html=house.table(header, rows, right=range(1, 5)) + "".join(lists),
    )


def _tunings(export: Export) -> Section | None:
    files: dict[Tuning, list[str]] = defaultdict(list)
    for one in export.files:
        if one.tuning:
            files[one.tuning].append(one.file)
    if not files:
        return None
    rows = [
        (
            tuning.network,
            str(tuning.epochs),
            f"{tuning.accuracy_before:.4f}",
            f"{tuning.accuracy_tuned:.4f}",
            f"{tuning.accuracy_stripped:.4f}",
            f"{tuning.seconds / 60:.1f}",
            ", ".join(names),
        )
        for tuning, names in files.items()
    ]
    header = ("network", "epochs", "before", "tuned", "stripped", "minutes", "files")
    return Section(
        "fine-tuned",
        "Fine-tunings",
        "Accuracy on val: of the run's own model, with the simulation of the TensorFlow Model Optimization toolkit in "
        "the graph, and without it, which is what is converted.",
        html=house.table(header, rows, right=range(1, 6)),
    )


def _disagreements(export: Export, pictures: Mapping[str, Pixels]) -> Section | None:
    """Show an image once, with what each file said of it."""
    said: dict[str, list[tuple[Exported, Disagreement]]] = defaultdict(list)
    for one in export.files:
        for found in one.worst:
            said[found.path].append((one, found))
    if not said:
        return None
    worst = sorted(said.values(), key=lambda found: -max(each.largest for _, each in found))[:SHOWN]
    unseen = [found for found in worst if found[0][1].path not in pictures]
    reading = (
        "Test images that a file answers most unlike the trained model, each with what was said of it and how sure."
    )
    return Section(
        "disagreements",
        "Worst disagreements",
        f"{reading} Shown are {len(worst)} of {len(said)}." if len(said) > len(worst) else reading,
        cards=tuple(_card(found, pictures[found[0][1].path]) for found in worst if found[0][1].path in pictures),
        side=_SIDE,
        html=_listed(unseen) if unseen else "",
    )


def _card(found: Sequence[tuple[Exported, Disagreement]], picture: Pixels) -> Card:
    first = found[0][1]
    lines = [
        first.label,
        f"trained: {first.trained} {first.trained_probability:.2f}",
        *(f"{one.format} {one.precision}: {each.exported} {each.exported_probability:.2f}" for one, each in found),
        first.path,
    ]
    return Card((picture,), tuple(lines))


def _listed(found: Sequence[Sequence[tuple[Exported, Disagreement]]]) -> str:
    """List images that are not shown, a row a file."""
    rows = [
        (
            each.path,
            each.label,
            f"{each.trained} {each.trained_probability:.2f}",
            one.file,
            f"{each.exported} {each.exported_probability:.2f}",
            f"{each.largest:.2g}",
        )
        for image in found
        for one, each in image
    ]
    listed = house.table(("image", "true", "trained", "file", "it says", "largest |Δp|"), rows, right=(5,))
    return f'<div style="margin-bottom: 1.5rem">{listed}</div>'
