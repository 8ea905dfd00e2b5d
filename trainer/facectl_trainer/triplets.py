"""Triplets: an anchor, a positive of the same class and a negative of another, drawn anew each epoch, and their loss.

Source: Schroff, Kalenichenko & Philbin, FaceNet: A Unified Embedding for Face Recognition and Clustering, CVPR 2015.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facectl_trainer.calibrate import Truth
from facectl_trainer.feed import Indices
from facectl_trainer.fit import DivergedError
from facectl_trainer.framework import tensorflow
from facectl_trainer.recipe import EmbedPlan, Sampling

Floats = npt.NDArray[np.float32]
_JUDGED = 2048  # triplets of val, the same in every epoch
_POOL = 1024  # photographs among which a semi-hard negative is looked for
_NEAREST = 0.5  # of the strangers, among whom a weighted negative is drawn; of the nearest alone, LFW's collapse
_BLOCK = 512  # anchors at once
_COLLAPSED = 3  # epochs
_ONE = 1e-5  # the spread of one embedding: of a head of sigmoids as it begins 1e-3 was met, of a collapsed one 1e-7


class CollapsedError(DivergedError):
    """All photographs have come to have one embedding, and no epoch leads back."""


@dataclass(frozen=True)
class Triplets:
    """The margin between the photographs of one person and those of others."""

    plan: EmbedPlan
    seed: int
    unit: int = 3

    def order(self, truth: Truth, answers: Callable[[], Floats], random: np.random.Generator) -> tuple[Indices, Floats]:
        """Draw an epoch's triplets: anchor, positive, negative, one triplet after the other."""
        drawn = _DRAW[self.plan.sampling](truth, self.plan.triplets or len(truth), answers, self.plan.margin, random)
        return drawn.ravel(), np.ones(drawn.size, np.float32)

    def loss(self, truth: Any, answers: Any) -> tuple[Any, Any]:  # noqa: ARG002  # it is in the order
        """Give max(0, |a - p|² - |a - n|² + margin) of each triplet, and whether the positive is the nearer."""
        tf = tensorflow()
        anchor, positive, negative = tf.unstack(tf.reshape(answers, (-1, self.unit, answers.shape[-1])), axis=1)
        near = tf.reduce_sum(tf.square(anchor - positive), axis=1)
        far = tf.reduce_sum(tf.square(anchor - negative), axis=1)
        return tf.maximum(near - far + self.plan.margin, 0.0), near < far

    def judge(self, answers: Floats, truth: Truth) -> Mapping[str, float]:
        """Give the mean loss of random triplets, the share in which the positive is nearer, and the spread."""
        drawn = draw_random(truth, _JUDGED, np.random.default_rng(self.seed))
        near, far = (_squared(answers[drawn[:, 0]], answers[drawn[:, place]]) for place in (1, 2))
        return {
            "val_loss": float(np.maximum(near - far + self.plan.margin, 0).mean()),
            "val_accuracy": float((near < far).mean()),
            "val_spread": spread(answers),
        }

    def look(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Notice a collapse, but not a slow start, in which the spread is small too. Raises `CollapsedError`."""
        last, margin = history[-_COLLAPSED:], self.plan.margin
        stuck = [abs(row["loss"] / margin - 1) < 0.02 and row["val_spread"] < _ONE for row in last]
        if len(stuck) == _COLLAPSED and all(stuck):
            row = last[-1]
            raise CollapsedError(
                f"the embeddings have collapsed: for {_COLLAPSED} epochs, the loss ({row['loss']:.4g}) stands at the "
                f"margin ({margin:g}) and all photographs have nearly one embedding (spread {row['val_spread']:.2g} of "
                f"at most 1); lower the rate in the recipe ({row['rate']:.2g}), or train with another --sampling than "
                f"{self.plan.sampling}"
            )


def spread(embeddings: Floats) -> float:
    """Give the mean squared distance of N × d embeddings of L2 norm 1 from their mean: 0, where all are one, to 1."""
    return max(0.0, float(1 - np.square(embeddings.mean(axis=0, dtype=np.float64)).sum()))


def draw_random(truth: Truth, count: int, random: np.random.Generator) -> Indices:
    """Draw `count` triplets, count × 3: the anchor's class uniform, and every example uniform among those it may be.

    `truth`: N class indices of two classes or more, of which a class with one example is no anchor's.
    """
    people = _People(truth)
    anchors = people.anchors(count, random)
    return np.stack([anchors, people.others(anchors, random), people.strangers(anchors, random)], axis=1)


def draw_semi_hard(
    truth: Truth, count: int, answers: Callable[[], Floats], margin: float, random: np.random.Generator
) -> Indices:
    """Draw negatives that are farther than the positive, but by less than the margin, out of a random pool.

    Where there is none such, the nearest of those that are farther; where there is none either, the farthest.
    """
    embeddings, people = answers(), _People(truth)
    anchors = people.anchors(count, random)
    positives = people.others(anchors, random)
    pool = random.choice(len(truth), min(_POOL, len(truth)), replace=False)
    near = _squared(embeddings[anchors], embeddings[positives])
    negatives = people.strangers(anchors, random)  # of an anchor whose pool has no stranger
    for some in _blocks(count):
        far = 2 - 2 * embeddings[anchors[some]] @ embeddings[pool].T
        strange = truth[anchors[some], None] != truth[None, pool]
        farther = strange & (far > near[some, None])
        semi = farther & (far < near[some, None] + margin)
        rank = np.where(semi, 8 + random.random(far.shape), np.where(farther, 8 - far, np.where(strange, far - 8, -99)))
        negatives[some] = np.where(strange.any(axis=1), pool[rank.argmax(axis=1)], negatives[some])
    return np.stack([anchors, positives, negatives], axis=1)


def draw_weighted(
    truth: Truth, count: int, answers: Callable[[], Floats], margin: float, random: np.random.Generator
) -> Indices:
    """Draw positives more often the farther they are, and negatives, out of the nearer half of strangers, the nearer.

    The weight of the r-th farthest or nearest of n is n + 1 - r.
    """
    del margin
    embeddings, people = answers(), _People(truth)
    anchors = people.anchors(count, random)
    positives, negatives = np.empty_like(anchors), np.empty_like(anchors)
    for some in _blocks(count):
        chosen = anchors[some]
        alike = embeddings[chosen] @ embeddings.T
        strange = np.where(truth[chosen, None] == truth[None], -np.inf, alike)
        nearest = np.ceil(_NEAREST * (len(truth) - people.count(chosen))).astype(np.intp)
        negatives[some] = _draw_ranked(strange, nearest, random)
        members, real = people.members(chosen)
        unlike = np.where(real & (members != chosen[:, None]), -np.take_along_axis(alike, members, axis=1), -np.inf)
        place = _draw_ranked(unlike, people.count(chosen) - 1, random)
        positives[some] = members[np.arange(len(members)), place]
    return np.stack([anchors, positives, negatives], axis=1)


_Draw = Callable[[Truth, int, Callable[[], Floats], float, np.random.Generator], Indices]
_DRAW: dict[Sampling, _Draw] = {
    "random": lambda truth, count, _answers, _margin, random: draw_random(truth, count, random),
    "semi-hard": draw_semi_hard,
    "weighted": draw_weighted,
}


class _People:
    """Examples in the order of their classes, so that those of one class lie side by side."""

    def __init__(self, truth: Truth) -> None:
        self._order = np.argsort(truth, kind="stable")
        self._place = np.argsort(self._order, kind="stable")
        _, self._which, self.sizes = np.unique(truth, return_inverse=True, return_counts=True)
        self._starts = np.cumsum(self.sizes) - self.sizes

    def anchors(self, count: int, random: np.random.Generator) -> Indices:
        """Draw examples of classes that have two or more, every such class as often as another."""
        chosen = random.choice(np.flatnonzero(self.sizes > 1), count)
        return np.asarray(self._order[self._starts[chosen] + random.integers(self.sizes[chosen])])

    def count(self, examples: Indices) -> Indices:
        """Give the number of examples of each one's class."""
        return self._span(examples)[1]

    def members(self, examples: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
        """Give all examples of each one's class, N × the most of any, and which of them are; the others are of any."""
        start, size = self._span(examples)
        onward = np.arange(size.max())
        return self._order[(start[:, None] + onward) % len(self._order)], onward < size[:, None]

    def others(self, anchors: Indices, random: np.random.Generator) -> Indices:
        """Draw another example of each anchor's class."""
        start, size = self._span(anchors)
        onward = 1 + random.integers(size - 1)
        return self._order[start + (self._place[anchors] - start + onward) % size]

    def strangers(self, anchors: Indices, random: np.random.Generator) -> Indices:
        """Draw an example of another class for each anchor."""
        start, size = self._span(anchors)
        place = random.integers(len(self._order) - size)
        return self._order[place + np.where(place >= start, size, 0)]

    def _span(self, examples: Indices) -> tuple[Indices, Indices]:
        which = self._which[examples]
        return self._starts[which], self.sizes[which]


def _draw_ranked(scores: Floats, counts: Indices, random: np.random.Generator) -> Indices:
    """Draw a column for each of N rows, out of the `counts` greatest: the r-th of n has the weight n + 1 - r."""
    most = int(counts.max())
    found = np.argpartition(scores, -most, axis=1)[:, -most:]
    falling = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    place = np.take_along_axis(falling, _ranks(counts, random)[:, None], 1)
    return np.take_along_axis(found, place, 1)[:, 0]


def _ranks(counts: Indices, random: np.random.Generator) -> Indices:
    """Draw a rank from 0 for each count n, where rank r has the weight n - r."""
    whole = counts * (counts + 1) / 2
    rest = whole - random.random(len(counts)) * whole  # where r ranks are past, (n - r)(n - r + 1) / 2 is left
    left = np.ceil((np.sqrt(8 * rest + 1) - 1) / 2).astype(np.intp).clip(1, counts)
    return np.asarray(counts - left)


def _squared(first: Floats, second: Floats) -> Floats:
    """Give the squared distances of N pairs of rows."""
    return np.asarray(np.square(first - second).sum(axis=1))


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))
