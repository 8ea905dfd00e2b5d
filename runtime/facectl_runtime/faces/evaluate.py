"""Evaluation of an embedding: on people, on the pairs of LFW's protocol, and on triplets."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from facectl_runtime.copies import distinct
from facectl_runtime.errors import UsageError, left_out_clause
from facectl_runtime.faces.embedder import Embedded, Embedder, embed
from facectl_runtime.faces.measured import measure_people, similarities
from facectl_runtime.faces.pair_files import Pair, check_images, read_pairs, read_triplets
from facectl_runtime.labelled import Chosen, Image
from facectl_runtime.verification import Verification, measure

FOLDS = 10  # of triplets, which come without


class EmbeddingEvaluation(msgspec.Struct, frozen=True):
    """What `facectl evaluate --json` prints of an embedding."""

    verification: Verification
    photographs: int
    people: int | None = None
    """None of pairs that a file lists."""
    triplet_loss: float | None = None
    """Of triplets: the mean of max(0, |a - p|² - |a - n|² + margin)."""
    margin: float | None = None
    in_order: float | None = None
    """Of triplets: the share in which the positive is nearer than the negative."""
    unreadable: dict[str, str] = {}
    """Path to error, of photographs that were left out, and with them the pairs that need them."""


Advance = Callable[[int], None]


def evaluate_people(embedder: Embedder, chosen: Chosen, cores: int | None, advance: Advance) -> EmbeddingEvaluation:
    """Compare all pairs of photographs of known people, copies left out. Raises `UsageError`.

    Copies are told by the hashes of `chosen`, which it has once it was `copies.hashed`.
    """
    ((chosen, left_out),) = distinct(chosen)
    found = embed(embedder, chosen, advance, cores, detect=None)
    left_out |= found.left_out
    try:
        verification = measure_people(found.embeddings, found.people)
    except UsageError as error:
        raise UsageError(f"{chosen.root}: {error}{left_out_clause(left_out)}") from error
    return EmbeddingEvaluation(verification, len(found.images), len(set(found.people)), unreadable=left_out)


def listed(path: Path, data: Path, *, triplets: bool) -> list[Pair]:
    """Read pairs as of LFW's protocol, or triplets, whose images are below `data`. Raises `UsageError`."""
    if triplets:
        return read_triplets(path, data)
    pairs = read_pairs(path)
    check_images(path, data, pairs)
    return pairs


def images_of(pairs: Sequence[Pair], data: Path) -> Chosen:
    """Give the photographs that pairs need, each once; whom they show, the pairs say."""
    paths = dict.fromkeys(path for pair in pairs for path in (pair.a, pair.b))
    return Chosen(data, [Image(path, "") for path in paths], f"the photographs of {len(pairs):,} pairs", {})


def evaluate_pairs(
    embedder: Embedder, pairs: Sequence[Pair], chosen: Chosen, cores: int | None, advance: Advance
) -> EmbeddingEvaluation:
    """Compare the pairs of LFW's protocol (Huang et al. 2007), in its folds. Raises `UsageError`."""
    found = embed(embedder, chosen, advance, cores, detect=None)
    vectors = found.by_path()
    kept = [pair for pair in pairs if pair.a in vectors and pair.b in vectors]
    if len({pair.same for pair in kept}) < 2:
        raise _too_few(found, chosen, "a pair of one person and one of two")
    same, folds = np.array([pair.same for pair in kept]), np.array([pair.fold for pair in kept])
    verification = measure(similarities(vectors, kept), same, folds)
    return EmbeddingEvaluation(verification, len(found.images), unreadable=found.left_out)


def evaluate_triplets(
    embedder: Embedder, pairs: Sequence[Pair], chosen: Chosen, margin: float, cores: int | None, advance: Advance
) -> EmbeddingEvaluation:
    """Decide two pairs a triplet, each fold at the distance that is best on the other folds. Raises `UsageError`."""
    found = embed(embedder, chosen, advance, cores, detect=None)
    vectors = found.by_path()
    triplets = [
        (near, far)
        for near, far in zip(pairs[::2], pairs[1::2], strict=True)
        if {near.a, near.b, far.b} <= vectors.keys()
    ]
    if not triplets:
        raise _too_few(found, chosen, "a triplet")
    positive, negative = (similarities(vectors, side) for side in zip(*triplets, strict=True))
    scores = np.concatenate([positive, negative])
    same = np.arange(len(scores)) < len(positive)
    verification = measure(scores, same, np.tile(np.arange(len(positive)) % FOLDS, 2))
    # Triplets of all folds share people, so that it would shrink with their number, however few the people are.
    verification = msgspec.structs.replace(verification, standard_error=None)
    # Of vectors of norm 1, the squared distance is 2 - 2 cos.
    losses = np.maximum(2 * (negative.astype(np.float64) - positive) + margin, 0)
    return EmbeddingEvaluation(
        verification,
        len(found.images),
        triplet_loss=float(losses.mean()),
        margin=margin,
        in_order=float(np.mean(positive > negative)),
        unreadable=found.left_out,
    )


def _too_few(found: Embedded, chosen: Chosen, needed: str) -> UsageError:
    """Give the error to raise where too many photographs cannot be used for anything to be compared."""
    why = f" ({next(iter(found.left_out.values()))})" if found.left_out else ""
    return UsageError(
        f"{chosen.root}: {len(found.left_out):,} of {len(chosen.images):,} photographs cannot be used{why}, and those "
        f"left do not make {needed}; give the photographs that were meant"
    )
