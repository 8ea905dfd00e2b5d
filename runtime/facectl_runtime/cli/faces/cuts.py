"""What found the faces of a gallery, or those that a threshold was chosen on: it should be the same as now."""

from collections.abc import Iterable


def cut_otherwise(found_by: Iterable[str], *, detect: bool) -> tuple[str, str] | None:
    """Say how other faces were cut out, and how those asked about are; None where all are cut out alike."""
    from facectl_runtime.faces.detect import FOUND_BY

    now = FOUND_BY if detect else ""
    said = [_said(one) for one in found_by if one != now]
    return (said[0], _said(now)) if said else None


def threshold_otherwise(found_by: str | None, *, detect: bool) -> str | None:
    """Say that a threshold was chosen on faces that were cut out otherwise; None where it was not, or nobody knows."""
    if found_by is None or not (differ := cut_otherwise([found_by], detect=detect)):
        return None
    return (
        f"its threshold was chosen on faces {differ[0]}, and these are {differ[1]}: its rates are others; calibrate it "
        "with the same option, or give --threshold"
    )


def _said(found_by: str) -> str:
    return f"found by {found_by}" if found_by else "taken as they are (--no-detect)"
