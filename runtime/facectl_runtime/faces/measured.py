"""How well embeddings tell people apart: over all pairs of a set of photographs, or over pairs that a file lists."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, counted
from facectl_runtime.faces.pair_files import Pair
from facectl_runtime.faces.pairs import Embeddings, index_people, same_people
from facectl_runtime.verification import Verification, measure

MOST = 2_000_000
"""Pairs of one person, and of different people, that are measured on; of more, so many are drawn."""


def measure_people(embeddings: Embeddings, people: Sequence[str], seed: int = 0) -> Verification:
    """Compare all pairs of N × d embeddings, L2 norm 1, of the people named; of very many pairs, `MOST` of each kind.

    Raises `UsageError` where no two are of one person, or all are.
    """
    who = index_people(embeddings, people)
    same, different = same_people(embeddings, who).score, _different(embeddings, who, seed)
    if not len(same) or not len(different):
        missing = "of one person" if not len(same) else "of different people"
        raise UsageError(f"no two of the {len(who):,} photographs are {missing}, so that nothing can be measured")
    if len(same) > MOST:
        same = np.random.default_rng(seed).choice(same, MOST, replace=False)
    return measure(np.concatenate([same, different]), np.arange(len(same) + len(different)) < len(same))


def similarities(embeddings: Mapping[str, npt.NDArray[np.float32]], pairs: Sequence[Pair]) -> npt.NDArray[np.float32]:
    """Give the cosine of each pair, -1 to 1."""
    values = [embeddings[pair.a] @ embeddings[pair.b] for pair in pairs]
    return np.clip(np.array(values, np.float32), np.float32(-1), np.float32(1))


def _different(embeddings: Embeddings, who: npt.NDArray[np.int32], seed: int) -> npt.NDArray[np.float32]:
    """Score pairs of different people: all, or `MOST` that are drawn, with replacement."""
    n = len(who)
    if n * (n - 1) // 2 <= MOST:
        first, second = np.triu_indices(n, 1)
    else:
        random = np.random.default_rng(seed)
        first = random.integers(n, size=MOST)
        second = (first + random.integers(1, n, size=MOST)) % n
    apart = who[first] != who[second]
    first, second = first[apart], second[apart]
    step = 2**18  # pairs at once: of 512 values, 1 GB
    scores = [
        np.einsum("nd,nd->n", embeddings[first[start : start + step]], embeddings[second[start : start + step]])
        for start in range(0, len(first), step)
    ]
    return np.concatenate([*scores, np.empty(0, np.float32)]).clip(-1, 1)


def described(measured: Verification) -> str:
    """Say on one line what was measured."""
    parts = [f"AUC {measured.auc:.4f}", f"EER {measured.eer:.2%}"]
    if measured.accuracy is not None:
        error = "" if measured.standard_error is None else f" ± {measured.standard_error:.2%}"
        parts.insert(0, f"accuracy {measured.accuracy:.2%}{error}")
    rates = (("1e-2", measured.tar_at_far_1e2), ("1e-3", measured.tar_at_far_1e3))
    parts += [f"TAR {rate:.2%} at FAR {far}" for far, rate in rates if rate is not None]
    same = counted(measured.same, "pair of one person", "pairs of one person")
    return f"{', '.join(parts)}; {same}, {measured.different:,} of two"
