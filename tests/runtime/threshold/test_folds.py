"""Folds of groups."""

import numpy as np

from facectl_runtime.threshold.folds import deal


def test_folds_are_balanced_in_people_and_in_photographs():
    sizes = np.random.default_rng(0).geometric(0.3, 203)
    fold = deal(sizes, 10, 1)
    assert set(np.bincount(fold).tolist()) == {20, 21}
    assert np.ptp(np.bincount(fold, sizes)) <= sizes.max()
    assert fold.tolist() != deal(sizes, 10, 2).tolist()
