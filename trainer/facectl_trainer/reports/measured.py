"""The sections of a report that numbers make."""

from collections import Counter
from collections.abc import Iterable, Sequence

from facectl_runtime.metrics import wilson
from facectl_trainer.reports import page
from facectl_trainer.reports.charts import (
    BARS,
    NAMED,
    composition_chart,
    confusion_matrix,
    learning_curves,
    reliability_diagram,
)
from facectl_trainer.reports.measures import composition, confused_pairs, mean_f1, reliability
from facectl_trainer.reports.measures import stages as stages_of
from facectl_trainer.reports.page import Section
from facectl_trainer.reports.results import Epoch, Results
from facectl_trainer.run import Run

CONFUSED = 20


def headline(results: Results) -> str:
    """Write the top of the page: how good, on how many, what it is, and what comes next."""
    spec, test = results.run.spec, results.metrics.test
    low, high = test.interval
    commonest = max(each.n for each in test.per_class.values()) / test.n
    macro = f"{mean_f1(each.f1 for each in test.per_class.values()):.3f}"
    return "\n".join(
        [
            page.title(spec.name),
            page.figure(f"{100 * test.accuracy:.1f} %", f"always the commonest class: {100 * commonest:.1f} %"),
            page.paragraph(
                f"of {test.n} test images are answered rightly; the 95 % interval is "
                f"{100 * low:.1f} to {100 * high:.1f} %."
            ),
            facts(results.run, results.metrics.begun_from, [("classes", str(len(spec.labels))), ("macro-F1", macro)]),
        ]
    )


def facts(run: Run, begun_from: str | None, found: Iterable[tuple[str, str]]) -> str:
    """Write what a run was made of, how, and what comes next; `found` is what its kind of model adds."""
    spec, source = run.spec, run.spec.provenance
    scratch = "" if begun_from else ", from scratch"
    weights = f", pretrained weights, licence {source.weights_licence}" if source.weights_licence else scratch
    lines = [
        ("images", ", ".join(f"{len(images)} {part}" for part, images in run.split.parts.items())),
        *found,
        ("recipe", f"{source.recipe}, seed {source.seed}"),
        ("backbone", source.backbone + weights),
        *([("begun from", begun_from)] if begun_from else []),
        ("input", f"{spec.input.width} × {spec.input.height} pixels"),
        ("trained" if run.recipe.stages else "made", source.created.replace("T", " ").replace("Z", " UTC")),
        ("next", f"facectl export {spec.name}   (in the folder that holds the run)"),
    ]
    people = page.note("This page holds photographs of people: mind who it is given to.")
    return "\n".join([page.definitions(lines), *([people] if run.recipe.shows_people else [])])


def curves(results: Results) -> Section | None:
    """Show the course of training."""
    if not results.history:
        return None
    smoothed = any(stage.label_smoothing for stage in results.run.recipe.stages)
    unlike = " The loss on train is with label smoothing, that on val without." if smoothed else ""
    return Section(
        "learning-curves",
        "Learning curves",
        "Where the loss on train goes on falling and that on val rises, the network learns its images by heart; a ring "
        f"marks the lowest loss on val of each stage. {stage_names(results.history)}{unlike}",
        (learning_curves(results.history),),
    )


def stage_names(history: Sequence[Epoch]) -> str:
    """Say in a sentence which epochs are of which stage."""
    named = "; ".join(
        f"stage {number} ({name}): epochs {first} to {last}"
        for number, (name, first, last) in enumerate(stages_of(history), start=1)
    )
    return f"{named[0].upper()}{named[1:]}."


def confusion(results: Results) -> Section:
    """Show what is taken for what."""
    test = results.metrics.test
    labels = test.labels
    pairs = confused_pairs(test.confusion, CONFUSED)
    rows = [(labels[p.true], labels[p.predicted], p.count, p.share) for p in pairs]
    most = "<h3>Most confused</h3>" + page.table(("true", "taken for", "images", "share of the true class"), rows)
    numbered = "" if len(labels) <= NAMED else " Classes are numbered as in the next section."
    return Section(
        "confusion",
        "Confusion matrix",
        f"A row is a true class and a column what it was taken for: off the diagonal are the mistakes.{numbered}",
        (confusion_matrix(test.confusion, labels),),
        html=most if pairs else page.paragraph("There is no mistake on the test images."),
    )


def per_class(results: Results) -> Section:
    """Show precision, recall and F1 of each class, the worst first."""
    test = results.metrics.test
    train = Counter(image.label for image in results.run.split.parts.get("train", []))
    numbers = {label: f"{number}. " if len(test.labels) > NAMED else "" for number, label in enumerate(test.labels, 1)}
    ordered = sorted(test.per_class.items(), key=lambda item: (item[1].f1 is not None, item[1].f1))
    rows = [
        (numbers[label] + label, each.precision, each.recall, _interval(each.recall, each.n), each.f1, each.n,
         train[label])
        for label, each in ordered
    ]  # fmt: skip
    header = ("class", "precision", "recall", "95 % interval", "F1", "test images", "train images")
    return Section(
        "per-class",
        "Each class, the worst first",
        "Precision is the share of the answers with this name that are right, recall the share of its images that are "
        "found, F1 their harmonic mean; the interval is that of recall.",
        html=page.table(header, rows),
    )


def reliability_section(results: Results) -> Section:
    """Show how far the probabilities can be believed."""
    bins = reliability(results.predictions.probabilities, results.predictions.truth)
    scale = results.metrics.calibration
    cooled = f" The temperature, fitted on val, is {scale.temperature:.2f}." if scale else ""
    return Section(
        "reliability",
        "Reliability",
        "A bar that ends on the dashed line says that answers of that confidence are right just as often; below it the "
        "model is too sure. Thin lines are 95 % intervals, and the error is the mean distance, weighted by the images "
        f"(Guo et al. 2017).{cooled}",
        (reliability_diagram(bins),),
    )


def composition_section(results: Results) -> Section:
    """Show which classes are answered too often."""
    labels, predictions = results.run.spec.labels, results.predictions
    shares = composition(predictions.truth, predictions.predicted, len(labels))
    bounded = f" Shown are the {BARS} classes that differ most." if len(labels) > BARS else ""
    return Section(
        "composition",
        "Composition of the data and of the predictions",
        f"A class whose difference is above 0 is named more often than it is there.{bounded}",
        (composition_chart(shares, labels),),
    )


def _interval(share: float | None, n: int) -> str | None:
    if share is None:
        return None
    low, high = wilson(round(share * n), n)
    return f"{low:.2f} to {high:.2f}"
