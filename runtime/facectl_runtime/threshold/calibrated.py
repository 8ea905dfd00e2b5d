"""What calibration finds: a threshold, and how often it goes wrong."""

from typing import NamedTuple

import msgspec

from facectl_runtime.spec import Threshold
from facectl_runtime.verification import Interval


class Wrong(NamedTuple):
    """How many of so many decisions were wrong, in all folds together."""

    hits: int
    of: int
    interval: Interval
    """Of the rate, 95 %."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold with the rates that were measured for it on people, or groups, that had no part in choosing it."""

    value: float
    """What is accepted scores at least this; one of the scores met, so float32 holds it exactly."""
    score: str
    """`cosine`, or a key of `known_scores.SCORES`."""
    far_asked: float
    """The false-accept rate that `value` was chosen for, above 0 and below 1."""
    far: float
    """The false-accept rate measured: false_accepts / far_count of all folds together."""
    far_interval: Interval
    """95 %."""
    far_count: int
    """Pairs of different people, or unknown images, that were held out."""
    false_accepts: int
    frr: float
    """The false-reject rate measured: false_rejects / frr_count of all folds together."""
    frr_interval: Interval
    """95 %."""
    frr_count: int
    """Pairs of one person, of `faces.EACH` photographs at most, or known images answered right, that were held out."""
    false_rejects: int
    folds: int
    groups: int
    """People, or groups of unknown images, that were parted into the folds."""
    found_by: str | None = None
    """What found the faces; empty where they were cropped already, None of a classifier."""

    @classmethod
    def of(
        cls, value: float, score: str, far_asked: float, accepts: Wrong, rejects: Wrong, folds: int, groups: int
    ) -> "Calibrated":
        """Put together what was chosen and how often it was wrong."""
        return cls(
            value=value,
            score=score,
            far_asked=far_asked,
            far=accepts.hits / accepts.of,
            far_interval=accepts.interval,
            far_count=accepts.of,
            false_accepts=accepts.hits,
            frr=rejects.hits / rejects.of,
            frr_interval=rejects.interval,
            frr_count=rejects.of,
            false_rejects=rejects.hits,
            folds=folds,
            groups=groups,
        )

    def threshold(self) -> Threshold:
        """Give what a model's spec says of it."""
        plain = {
            "value": self.value,
            "score": self.score,
            "false_accept_rate": self.far,
            "false_accept_count": self.far_count,
            "false_reject_rate": self.frr,
            "false_reject_count": self.frr_count,
            "asked": self.far_asked,
            "false_accept_interval": self.far_interval,
            "false_reject_interval": self.frr_interval,
            "found_by": self.found_by,
        }
        return msgspec.convert(plain, Threshold)
