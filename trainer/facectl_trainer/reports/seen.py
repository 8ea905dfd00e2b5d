"""The sections of a report that show photographs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_runtime.image import Pixels
from facectl_trainer import explain
from facectl_trainer.reports.cards import Bar, Card, percent
from facectl_trainer.reports.measures import evenly, hardest_pairs, mixture, surest_mistakes
from facectl_trainer.reports.page import Section
from facectl_trainer.reports.photographs import Photographs
from facectl_trainer.reports.results import Results

EXAMPLES, TESTS, MISTAKES, PAIRS, MAPS, CAMS = 120, 24, 12, 12, 2, 6
LIKELIEST = 10
COMPARED = 400
"""Most test images whose features are computed for the hardest pairs."""
_BATCH = 32


def examples(results: Results, photographs: Photographs) -> Section | None:
    """Show training images of each class."""
    labels = results.run.spec.labels
    index = {label: number for number, label in enumerate(labels)}
    images = photographs.of("train")
    each = max(1, min(6, EXAMPLES // len(labels)))
    chosen = evenly((index[image.label] for image in images), each * len(labels))
    found: dict[str, list[Pixels]] = {label: [] for label in labels}
    for place, pixels in photographs.present(images, chosen):
        found[images[place].label].append(pixels)
    return _shown(
        "examples",
        "Examples of each class",
        "Training images as the model sees them, after the resize: what cannot be told from them cannot be learned.",
        [Card(tuple(pixels[:each]), (label,)) for label, pixels in found.items() if pixels],
        140 if each > 1 else 110,
    )


def test_images(results: Results, photographs: Photographs) -> Section | None:
    """Show a mixture of test images with the likeliest answers."""
    predictions = results.predictions
    wrong = predictions.predicted != predictions.truth
    shown = _present(results, photographs, mixture(predictions.probabilities, predictions.truth, TESTS))
    failed = sum(wrong[place] for place, _ in shown)
    return _shown(
        "test-images",
        "Test images",
        f"Above stands the true name, below the {LIKELIEST} likeliest answers with their probabilities in per cent; "
        f"the true one is bold. Mistakes are {failed} of these {len(shown)}, and {percent(wrong.mean())} % of all test "
        "images.",
        [_answered(results, place, pixels, LIKELIEST) for place, pixels in shown],
        170,
    )


def mistakes(results: Results, photographs: Photographs) -> Section | None:
    """Show the wrong answers that were given with most confidence."""
    wanted = surest_mistakes(results.predictions.probabilities, results.predictions.truth, MISTAKES)
    return _shown(
        "mistakes",
        "The surest mistakes",
        "Wrong answers with the highest probability, the surest first: look for wrong labels, two things in one "
        "picture, and classes that overlap.",
        [_answered(results, place, pixels, 3) for place, pixels in _present(results, photographs, wanted)],
        170,
    )


def pairs(results: Results, photographs: Photographs, model: Any) -> Section | None:
    """Show the images of different classes that are next to one another for the network."""
    predictions = results.predictions
    wanted = evenly(predictions.truth, COMPARED)
    features, places = _features(results, photographs, model, wanted)
    if len(places) < 2:
        return None
    found, median = hardest_pairs(features, predictions.truth[places], PAIRS)
    cards = []
    for pair in found:
        both = [places[pair.first], places[pair.second]]
        pictures = [pixels for _, pixels in _present(results, photographs, both)]
        names = " | ".join(predictions.images[place].label for place in both)
        cards.append(Card(tuple(pictures), (names, f"cosine {pair.cosine:.3f}")))
    some = "" if len(places) == len(predictions.truth) else f" of {len(places)} test images, each class in turn"
    return _shown(
        "hardest-pairs",
        "The hardest pairs",
        f"Images of different classes that the features before the last layer put closest{some}: look-alikes. The "
        f"median cosine of two images of different classes is {median:.3f}.",
        cards,
        130,
    )


def activations(results: Results, photographs: Photographs, model: Any) -> Section | None:
    """Show what a lower and an upper layer make of a few test images."""
    if not explain.map_layers(model):
        return None
    layers = explain.default_layers(model)
    wanted = evenly(results.predictions.truth, MAPS)
    cards = []
    for place, pixels in _present(results, photographs, wanted):
        maps = [explain.activation_maps(model, pixels, layer) for layer in (layers.lower, layers.upper)]
        lines = [
            f"{where}: {layer}, {explain.map_size(model, layer)}, {each.shape[2]} channels"
            for where, layer, each in zip(("middle", "right"), (layers.lower, layers.upper), maps, strict=True)
        ]
        pictures = (pixels, *(explain.mosaic(each, 300) for each in maps))
        cards.append(Card(pictures, (results.predictions.images[place].label, *lines)))
    return _shown(
        "activations",
        "Activation maps",
        f"Each tile is one of the {explain.MOSAIC} channels that vary most, yellow where it answers most: a lower "
        "layer shows edges and textures, an upper one parts of things.",
        cards,
        280,
    )


def grad_cams(results: Results, photographs: Photographs, model: Any) -> Section | None:
    """Show what spoke for right and wrong answers."""
    if not explain.map_layers(model):
        return None
    upper = explain.default_layers(model).upper
    predictions, labels = results.predictions, results.run.spec.labels
    cards = []
    for place, pixels in _present(results, photographs, mixture(predictions.probabilities, predictions.truth, CAMS)):
        true, answer = int(predictions.truth[place]), int(predictions.predicted[place])
        probability = percent(predictions.probabilities[place, answer])
        heat = explain.overlay(pixels, explain.grad_cam(model, pixels, answer, upper))
        if answer == true:
            cards.append(Card((pixels, heat), (labels[true], f"{probability} %"), verdict="right"))
            continue
        missed = explain.overlay(pixels, explain.grad_cam(model, pixels, true, upper))
        wanted = percent(predictions.probabilities[place, true])
        lines = (f"{labels[true]}, taken for {labels[answer]}", f"middle: what speaks for {labels[answer]}, "
                 f"{probability} %", f"right: for {labels[true]}, {wanted} %")  # fmt: skip
        cards.append(Card((pixels, heat, missed), lines, verdict="wrong"))
    return _shown(
        "grad-cam",
        "Where it looked",
        "Bright is what speaks for the answer (Grad-CAM, Selvaraju et al. 2017): it should lie on the thing, not on "
        f"what is around it. The maps are those of {upper}, {explain.map_size(model, upper)}.",
        cards,
        150,
    )


def _present(results: Results, photographs: Photographs, wanted: Sequence[int]) -> list[tuple[int, Pixels]]:
    return photographs.present(results.predictions.images, wanted)


def _answered(results: Results, place: int, pixels: Pixels, most: int) -> Card:
    predictions, labels = results.predictions, results.run.spec.labels
    row, true = predictions.probabilities[place], int(predictions.truth[place])
    order = np.argsort(-row, kind="stable")
    bars = tuple(Bar(labels[k], float(row[k]), k == true) for k in order[:most])
    right = order[0] == true
    lines = (labels[true],) if right else (labels[true], f"taken for {labels[order[0]]}")
    return Card((pixels,), lines, bars, "right" if right else "wrong")


def _features(
    results: Results, photographs: Photographs, model: Any, wanted: Sequence[int]
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Give (features of the last layer, float32 N × d; the positions of those images that can be shown)."""
    cut = explain.feature_model(model)
    rows, places = [], []
    for start in range(0, len(wanted), _BATCH):
        batch = _present(results, photographs, wanted[start : start + _BATCH])
        if batch:
            places += [place for place, _ in batch]
            rows.append(np.asarray(cut.predict_on_batch(np.stack([pixels for _, pixels in batch])), np.float32))
    return (np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)), places


def _shown(name: str, title: str, reading: str, cards: Sequence[Card], side: int) -> Section | None:
    return Section(name, title, reading, cards=tuple(cards), side=side) if cards else None
