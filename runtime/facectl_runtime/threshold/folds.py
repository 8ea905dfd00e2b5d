"""Folds of people, or of groups of images: what is measured on one is chosen on the others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import UsageError, counted

Ints = npt.NDArray[np.integer]
Labels = Sequence[str] | Sequence[int] | Ints | npt.NDArray[np.str_]

FOLDS = 10


def deal(sizes: Ints, folds: int, seed: int) -> npt.NDArray[np.int32]:
    """Part groups into folds that differ by one group at most and little in size; one of `folds`, from 0, for each.

    Groups are shuffled, then dealt by falling size, so that every fold has its share of those with many photographs.
    How large the folds are does not depend on the seed.
    """
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold = np.empty(len(sizes), np.int32)
    fold[order] = np.arange(len(sizes)) % folds
    return fold


def check_folds(groups: int, folds: int, least: int, one: str, several: str) -> None:
    """Refuse fewer than `least` folds, and fewer groups than folds; `one` and `several` name the groups.

    Raises `UsageError`.
    """
    if folds < least:
        raise UsageError(
            f"{counted(folds, 'fold')} cannot be measured on by thresholds chosen on others; {least} or more are "
            f"needed, such as {FOLDS}"
        )
    if groups < folds:
        fewer = f"ask for {groups} folds, or " if groups >= least else ""
        raise UsageError(
            f"{counted(groups, one, several)} cannot be parted into {folds} folds; {fewer}add {several} to make {folds}"
        )
