"""MODEL_CARD.md: what a model is for, what it was measured to do, and what it cannot (Mitchell et al. 2019)."""

import re
from collections.abc import Collection, Iterable, Sequence

from facectl_export.measured import Export
from facectl_export.reports.table import columns, remarks
from facectl_runtime.errors import one_line
from facectl_runtime.evaluate import Evaluation, PerClass
from facectl_runtime.faces.measured import described
from facectl_runtime.labelled import PARTS, Split
from facectl_runtime.metrics import wilson
from facectl_runtime.spec import CenterCrop, FaceAlign, InputSpec, Letterbox, ModelSpec
from facectl_runtime.verification import Verification

NAMED = 100
"""Most classes that are listed by name outside of the table of classes."""
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")
_EXTRAS = {"onnx": "cpu", "tflite": "tflite", "coreml": "cpu,coreml"}


Measured = Evaluation | Verification | None


def card(
    spec: ModelSpec, export: Export, measured: Measured, split: Split, *, people: bool = False, trained: bool = True
) -> str:
    """Write the card, Markdown, of all files of an export.

    `spec` and `split` are those of the run, `measured` what the trained model does on its test split, where that is
    known. `people` says that the photographs show people, `trained` that the run trained something: it may use a
    pretrained embedding as it is.
    """
    parts = (
        f"# {text(spec.name)}\n\n{_what(spec)}",
        _use(spec, people),
        _running(spec, export),
        _data(spec, split, measured, trained),
        _metrics(measured),
        _files(export),
        _limits(spec, export, people, trained),
        _licences(spec),
        _provenance(spec, export),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def text(name: str) -> str:
    """Write a name so that Markdown shows it as it is, in a table's cell too."""
    return _MARKUP.sub(r"\\\1", one_line(name))


def _what(spec: ModelSpec) -> str:
    size, source = spec.input, spec.provenance
    answers = (
        f"{len(spec.labels)} probabilities, which sum to 1 and are calibrated"
        if spec.task == "classify"
        else f"{spec.output.size} numbers of L2 norm 1"
    )
    kind = "An image classifier" if spec.task == "classify" else "An image embedding"
    return (
        f"{kind}: {text(source.backbone)}, made by recipe {text(source.recipe)} of facectl on {source.created[:10]}. "
        f"It takes {size.width} × {size.height} pixels of uint8 RGB, to which a picture of any size comes by "
        f"{_resize(size)}, and gives {answers}. Scaling and normalisation are inside each file."
    )


def _resize(size: InputSpec) -> str:
    match size.resize:
        case CenterCrop():
            return f"cutting out its centre ({size.resize.fraction:g} of the largest rectangle of that shape)"
        case Letterbox():
            return "fitting it in whole, with bars"
        case FaceAlign():
            return "turning and scaling a face so that five landmarks fall into place"
        case _:
            return "stretching it whole"


def _use(spec: ModelSpec, people: bool) -> str:
    if spec.task == "classify":
        use = (
            f"It tells {len(spec.labels)} classes apart in photographs like those that it was trained on: "
            f"{_listed(spec.labels)}."
        )
    else:
        use = "It gives images that are alike vectors that are near, to be compared by their cosine."
    not_for = "Not for decisions that harm somebody when they are wrong, unless a person looks at each."
    faces = (
        "The photographs show people. Use it with the consent of everybody who is shown to it, and not to identify "
        "strangers or to watch anybody; the law of many places asks for both."
    )
    return "\n\n".join(["## Intended use", use, not_for, *([faces] if people else [])])


def _listed(labels: Sequence[str]) -> str:
    more = f", and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return ", ".join(map(text, labels[:NAMED])) + more


def _running(spec: ModelSpec, export: Export) -> str:
    lines = []
    for one in export.files:
        classifies = spec.task == "classify"
        identify = f"facectl faces identify GALLERY PHOTOGRAPH --model {one.file}"
        command = f"facectl predict {one.file} PHOTOGRAPH" if classifies else identify
        how = f"`{command}`, with `facectl[{_EXTRAS[one.format]}]` installed"
        if one.format == "coreml":
            gives = "`classLabel` and `classLabel_probs`" if classifies else "one MultiArray"
            how = f"drag it into Xcode: it takes an RGB image and gives {gives}; elsewhere {how}"
        lines.append((f"`{one.file}`", one.target, how))
    check = (
        "Each carries its labels, its resize and a few images with their answers: `facectl verify FILE` replays them "
        "on your machine, and `facectl inspect FILE` shows what a file says of itself."
    )
    return f"## How to run it\n\n{_table(('file', 'runs from', 'how'), lines)}\n\n{check}"


def _data(spec: ModelSpec, split: Split, measured: Measured, trained: bool) -> str:
    counts = [
        (part, str(len(images)), str(len({image.label for image in images})))
        for part in PARTS
        if (images := split.parts.get(part, []))
    ]
    unread = len(measured.unreadable) if isinstance(measured, Evaluation) else 0
    left_out = f" {unread} test images could not be read, and are in no figure." if unread else ""
    if not trained:
        parts = "Nothing was trained: the weights are the pretrained ones. train sets the ranges of int8"
    elif spec.task == "embed":
        parts = "Nobody is in two parts. train fits the weights and the ranges of int8, val stops training"
    else:
        parts = "train fits the weights and the ranges of int8, val stops training and sets the temperature"
    labels = "people" if spec.task == "embed" else "classes"
    return (
        f"## Data\n\n{_table(('part', 'images', labels), counts, right=(1, 2))}\n\n"
        f"{parts}, and test is measured once and chosen for nothing. Copies of a file stand in one part alone. "
        f"Fingerprint of the data: `{spec.provenance.data_fingerprint}`.{left_out}"
    )


def _metrics(measured: Measured) -> str:
    if isinstance(measured, Evaluation):
        return _of_classes(measured)
    if measured is None:
        return ""
    return (
        "## Metrics\n\nThe model compared all pairs of test photographs, of people whom it was not trained on: "
        f"{described(measured)}. FAR is the share of pairs of two people that are taken for one, TAR that of pairs of "
        "one person that are."
    )


def _of_classes(evaluation: Evaluation) -> str:
    low, high = evaluation.interval
    ordered = sorted(evaluation.per_class.items(), key=lambda item: (item[1].f1 is not None, item[1].f1))
    rows = [(text(label), *_class(each)) for label, each in ordered]
    header = ("class", "precision", "recall", "recall, 95 %", "F1", "test images")
    return (
        f"## Metrics\n\nThe trained model answers {100 * evaluation.accuracy:.1f} % of {evaluation.n} test images "
        f"rightly (top-1; 95 % interval {100 * low:.1f} to {100 * high:.1f} %, Wilson). By class, the worst first:\n\n"
        f"{_table(header, rows, right=range(1, 6))}"
    )


def _class(each: PerClass) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    interval = "–"
    if each.recall is not None and each.n:
        low, high = wilson(round(each.recall * each.n), each.n)
        interval = f"{low:.2f} to {high:.2f}"
    return share(each.precision), share(each.recall), interval, share(each.f1), str(each.n)


def _files(export: Export) -> str:
    header, rows = columns(export)
    cells = [[text(cell or "–") for cell in row] for row in rows]
    said = "".join(f"\n- {text(remark)}" for remark in remarks(export))
    names = [text(name.replace("\N{NO-BREAK SPACE}", " ")) for name in header]
    table = _table(names, cells, right=range(3, len(header)))
    times = (
        f"; times on {text(export.machine)}, an image, one at a time or, of a file of a constant batch, a whole one"
        if any(one.latency for one in export.files)
        else ""
    )
    compared = (
        f"Against the trained model, on the same {export.n_test} test images{times}."
        if any(one.comparison for one in export.files)
        else "No file could be run where it was exported, so none was compared with the trained model."
    )
    return f"## What each file costs\n\n{compared}\n\n{table}" + (f"\n{said}" if said else "")


def _limits(spec: ModelSpec, export: Export, people: bool, trained: bool) -> str:
    kind = "photographs of the same kind as those that it was trained on" if trained else "the photographs named above"
    points = [
        f"It was measured on {kind}; on others (another camera, light, angle, drawings) it was not measured, and does "
        "worse as a rule."
    ]
    if spec.task == "classify":
        points.insert(
            0,
            "It knows its classes and nothing else, and calls anything else one of them: a high probability does not "
            "say that the thing is known. `facectl faces calibrate FILE --unknown DIR` finds from which score it is, "
            "for each file; `facectl inspect FILE` says whether it has been found.",
        )
    else:
        points.insert(
            0,
            "It says how alike two faces are, and not who somebody is. From which cosine they are one person, "
            "`facectl faces calibrate FILE --data PEOPLE` finds for each file, with how often that is wrong; `facectl "
            "inspect FILE` says whether it has been found.",
        )
    if any(one.gate == "unverified" for one in export.files):
        points.append("What is called unverified was never compared with the trained model.")
    if any(one.precision.startswith("int8") for one in export.files):
        points.append("int8 rounds differently from one processor to another: a few answers change with the machine.")
    if people:
        points += [
            "Errors differ from one group of people to another (age, sex, skin), and were not measured by group.",
            "A face is personal data: no photograph of anybody is in these files or in the report.",
        ]
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)


def _licences(spec: ModelSpec) -> str:
    source = spec.provenance
    if source.weights_sha256 is None:
        weights = "no file of pretrained weights was used."
    else:
        weights = f"training began from weights under {text(source.weights_licence or 'a licence that is not known')}."
    return (
        "## Licences\n\n"
        "- data: not stated. The photographs are whoever's they are; facectl does not know their licences.\n"
        f"- weights: {weights}\n"
        "- the files: not stated; whoever trained the model says, within the two above."
    )


def _provenance(spec: ModelSpec, export: Export) -> str:
    source = spec.provenance
    facts = [
        ("recipe, seed", f"{text(source.recipe)}, {source.seed}"),
        ("backbone", text(source.backbone)),
        ("SHA-256 of the pretrained weights", f"`{source.weights_sha256}`" if source.weights_sha256 else "–"),
        ("SHA-256 of the network", f"`{export.network_sha256}`"),
        ("trained", source.created),
        ("exported", export.created),
        ("ranges of int8", text(export.calibration) or "–"),
        ("packages", ", ".join(f"{text(name)} {text(version)}" for name, version in source.packages.items()) or "–"),
    ]
    return f"## Provenance\n\n{_table(('what', 'value'), facts)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Write a table of cells that are Markdown already."""
    rule = ["---:" if place in right else "---" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
