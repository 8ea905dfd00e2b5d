"""The report of an embedding: how well it tells people apart, and the photographs that it finds hardest."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from facectl_trainer.log import Log
from facectl_trainer.reports import page
from facectl_trainer.reports.alike import Compared, Cosines, count_cosines, least_alike, most_alike, worst_apart
from facectl_trainer.reports.cards import Card, percent, thumbnail
from facectl_trainer.reports.charts import Course, cosine_chart, course_chart, roc_chart
from facectl_trainer.reports.measured import facts, stage_names
from facectl_trainer.reports.page import Section
from facectl_trainer.reports.photographs import Photographs
from facectl_trainer.reports.report import Build, write_sections
from facectl_trainer.reports.results import Embedded, read_embedded
from facectl_trainer.tensorboard import THUMBNAIL, TensorBoard

PAIRS, PEOPLE = 12, 15
PROJECTED = 2000
"""Most photographs in TensorBoard's projector."""
_UNLIKE = {
    "semi-hard": ", while those of train were in order when they were drawn",
    "weighted": ", while those of train are harder",
}


def write_report(folder: Path, log: Log, quiet: bool) -> Path:
    """Write `report.html` into the run folder of an embedding, its pictures beside it, and TensorBoard's projector.

    Photographs that are gone or changed since are passed over, and the page says how many. Raises `ModelError` where
    a file of the run is missing or damaged, `MissingExtraError` without matplotlib, and `UsageError` where
    TensorBoard's files cannot be written.
    """
    results = read_embedded(folder)
    photographs = Photographs(results.run)
    work: list[Build] = [*_sections(results, photographs), partial(_project, results, photographs, log.board)]
    return write_sections(results.run, headline(results), photographs, work, quiet)


def _sections(results: Embedded, photographs: Photographs) -> list[Build]:
    cosines = count_cosines(results.embeddings, results.who)
    return [
        partial(curves, results),
        partial(roc, results, cosines),
        partial(how_alike, cosines),
        partial(look_alikes, results, photographs),
        partial(strangers_to_themselves, results, photographs),
        partial(people, results),
    ]


def headline(results: Embedded) -> str:
    """Write the top of the page: how well people are told apart, on how many, what it is, and what comes next."""
    run, test = results.run, results.metrics.test
    tested = f"{len(results.images):,} photographs of {results.metrics.people:,} people"
    pairs = f"{test.same:,} pairs of one person and {test.different:,} of different people"
    embed = run.recipe.embed
    trained = (
        [("triplets", f"{embed.sampling} sampling, margin {embed.margin:g}")] if embed and run.recipe.stages else []
    )
    found = [
        ("tested on", f"{tested}: {pairs}"),
        ("AUC", f"{test.auc:.4f}"),
        ("equal error rate", f"{percent(test.eer)} %"),
        ("embedding", f"{run.spec.output.size} numbers"),
        *trained,
    ]
    return "\n".join([page.title(run.spec.name), *_figure(results), facts(run, results.metrics.begun_from, found)])


def _figure(results: Embedded) -> list[str]:
    test = results.metrics.test
    if (rate := test.tar_at_far_1e3) is None:
        meaning = (
            "is the chance that two photographs of one person are more alike than two of different people. "
            f"{test.different:,} pairs of different people are too few for the rate at 1 false accept in 1,000."
        )
        return [page.figure(f"{test.auc:.4f}", "AUC; 0.5 is chance"), page.paragraph(meaning)]
    meaning = (
        f"of the {test.same:,} pairs of one person are accepted where at most 1 in 1,000 pairs of different people is "
        f"accepted too: {test.different // 1000:,} of {test.different:,}."
    )
    return [page.figure(f"{percent(rate)} %", "TAR at FAR 1e-3"), page.paragraph(meaning)]


def curves(results: Embedded) -> Section | None:
    """Show the course of training."""
    plan, history = results.run.recipe.embed, results.history
    if not history or plan is None:
        return None
    courses = [
        Course("loss", "Loss", "triplet loss", (f"margin {plan.margin:g}", plan.margin)),
        Course("accuracy", "Triplets in order", "share"),
    ]
    if any(row.val_spread == row.val_spread for row in history):
        courses.append(Course("spread", "Spread on val", "0: all in one place"))
    unlike = _UNLIKE.get(plan.sampling, "")
    return Section(
        "learning-curves",
        "Learning curves",
        "A triplet is in order where a photograph is nearer to another one of its person than to one of somebody else. "
        "A loss that stays at the margin says that no one is told from anyone; where the spread goes to 0 with it, all "
        f"photographs come to have one embedding. The triplets of val are random, the same in every epoch{unlike}. A "
        f"ring marks the lowest loss on val of each stage. {stage_names(history)}",
        (course_chart(history, courses, "Loss, share of triplets in order and spread over the epochs"),),
    )


def roc(results: Embedded, cosines: Cosines) -> Section:
    """Show what accepting more pairs of one person costs."""
    test, pairs = results.metrics.test, int(cosines.same.sum() + cosines.different.sum())
    points = {f"equal error rate {percent(test.eer)} %": (test.eer, 1 - test.eer)}
    if test.tar_at_far_1e3 is not None:
        points[f"TAR {percent(test.tar_at_far_1e3)} % at FAR 1e-3"] = (1e-3, test.tar_at_far_1e3)
    measured = test.same + test.different
    drawn = "" if measured == pairs else f" The curve is of all {pairs:,} pairs, the points of {measured:,} drawn ones."
    return Section(
        "roc",
        "Accepted rightly and wrongly",
        "Each point of the curve is a threshold: two photographs count as one person where their cosine reaches it. "
        "The nearer to the upper left the better; at the left end, a step is one pair of different people."
        f"{drawn}",
        (roc_chart(*cosines.rates(), int(cosines.different.sum()), points),),
    )


def how_alike(cosines: Cosines) -> Section:
    """Show how similarities lie."""
    return Section(
        "alike",
        "How alike",
        "The cosine of two embeddings says how alike two photographs are, 1 at most. Where the two hills lie over one "
        "another, no threshold tells one person from two. Each has the area 1, however many pairs it is made of.",
        (cosine_chart(*cosines),),
    )


def look_alikes(results: Embedded, photographs: Photographs) -> Section | None:
    """Show the pairs of different people that are most alike."""
    pairs = most_alike(results.embeddings, results.who, PAIRS)
    return _shown(
        "most-alike",
        "Different people, most alike",
        "Pairs of different people with the highest cosine, each photograph once: look for one person under two names, "
        "one photograph in two folders, and somebody else in the picture.",
        _cards(results, photographs, pairs),
    )


def strangers_to_themselves(results: Embedded, photographs: Photographs) -> Section | None:
    """Show the pairs of one person that are least alike."""
    pairs = least_alike(results.embeddings, results.who, PAIRS)
    return _shown(
        "least-alike",
        "One person, least alike",
        "Pairs of one person with the lowest cosine, each photograph once: look for wrong names, faces that are turned "
        "away or covered, and years between the two.",
        _cards(results, photographs, pairs),
    )


def people(results: Embedded) -> Section:
    """Show who is told apart worst."""
    rows = [
        (results.people[each.person], each.photographs, f"{each.own:.3f}", results.people[each.other],
         f"{each.across:.3f}", f"{each.own - each.across:+.3f}")
        for each in worst_apart(results.embeddings, results.who, PEOPLE)
    ]  # fmt: skip
    header = ("person", "photographs", "mean cosine, own", "nearest other", "mean cosine, the two", "difference")
    return Section(
        "people",
        "Told apart worst",
        "Of each person, the mean cosine of all pairs of own photographs, and of all pairs with those of the nearest "
        "other person; the smallest difference first. Who has one photograph alone stands only among the others.",
        html=page.table(header, rows, right={2, 4, 5}),
    )


def _cards(results: Embedded, photographs: Photographs, pairs: Sequence[Compared]) -> list[Card]:
    """Make a card of each pair of which both photographs can be shown."""
    cards = []
    for pair in pairs:
        both = [results.images[place] for place in (pair.first, pair.second)]
        pictures = [pixels for image in both if (pixels := photographs.load(image.path)) is not None]
        if len(pictures) == len(both):
            names = " | ".join(dict.fromkeys(image.label for image in both))
            files = (Path(image.path).name for image in both)
            cards.append(Card(tuple(pictures), (names, f"cosine {pair.cosine:.3f}", *files)))
    return cards


def _shown(name: str, title: str, reading: str, cards: Sequence[Card]) -> Section | None:
    return Section(name, title, reading, cards=tuple(cards), side=130) if cards else None


def _project(results: Embedded, photographs: Photographs, board: TensorBoard) -> None:
    """Show test photographs as points in TensorBoard; of very many, all those of people who are drawn."""
    ranks = np.random.default_rng(0).permutation(len(results.people))
    places = np.sort(np.argsort(ranks[results.who], kind="stable")[:PROJECTED])
    images = [results.images[place] for place in places]
    loaded = (photographs.load(image.path) for image in images)
    thumbnails = [pixels if pixels is None else thumbnail(pixels, THUMBNAIL) for pixels in loaded]
    columns = {"person": [image.label for image in images], "photograph": [image.path for image in images]}
    board.embeddings(results.embeddings[places], columns, thumbnails)
