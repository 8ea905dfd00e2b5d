"""The figures of faces for README, as Markdown, out of benchmarks/results."""

from typing import Any

from common import has_results, read_results, table
from facectl_runtime.errors import counted
from lfw_view2 import percent


def faces() -> list[str]:
    """Give the tables of faces, of what has been measured."""
    parts = [
        lines(read_results(name))
        for name, lines in {
            "lfw_view2": _view2,
            "lfw_peers": _peers,
            "open_set": _open_set,
            "triplets": _triplets,
            "unknown": _unknown,
            "identify": _identify,
            "search": _search,
        }.items()
        if has_results(name)
    ]
    return [line for part in parts for line in ["", *part]]


def _view2(figures: dict[str, Any]) -> list[str]:
    header = (
        "crop, file | accuracy, % | drop to fp32, points [95 %] | AUC | EER, % | TAR at FAR 1e-2, % | at 1e-3, % | MB"
    )
    return [
        f"Faces: LFW's View 2, {figures['pairs']:,} pairs in ten folds, by FaceNet's network, of the runs that "
        "`facectl train triplet --variant facenet-plain` (the middle of the picture) and `facenet` (found and aligned) "
        "make.",
        "",
        *table(header, (_checked(name, one) for name, one in figures["files"].items())),
        "",
        "![ROC of FaceNet's exported files on LFW](docs/images/lfw_roc.png)",
    ]


def _checked(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    drop = ""
    if one["drop"] and "fp32" not in name:
        points, low, high = (100 * value for value in one["drop"])
        drop = f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"
    rates = (percent(one[key]) for key in ("eer", "tar_at_far_1e2", "tar_at_far_1e3"))
    return name, _accuracy(one), drop, f"{one['auc']:.5f}", *rates, f"{one['mb']:.0f}"


def _accuracy(one: dict[str, Any]) -> str:
    return f"{percent(one['accuracy'])} ± {percent(one['standard_error'])}"


def _peers(figures: dict[str, Any]) -> list[str]:
    header = (
        "program | accuracy, % | AUC | TAR at FAR 1e-3, % | ms a face, median (p95) | time, × dlib | no face found | "
        "installed, MB"
    )
    dlib = next(one["ms"] for name, one in figures["programs"].items() if name.startswith("dlib"))
    rows = (
        (
            name,
            _accuracy(one),
            f"{one['auc']:.5f}",
            percent(one["tar_at_far_1e3"]),
            f"{one['ms']:.0f} ({one['p95_ms']:.0f})",
            f"{one['ms'] / dlib:.2f}",
            one["no_face"],
            f"{one['installed_mb']:.0f}",
        )
        for name, one in figures["programs"].items()
    )
    return [
        "The same pairs, each program finding, aligning and embedding one photograph at a time, in turn, on the two "
        "cores as it uses them by itself; installed with its packages and models, of which dlib loads a part:",
        "",
        *table(header, rows),
    ]


def _open_set(figures: dict[str, Any]) -> list[str]:
    rows = (
        (name, *(f"{100 * rate['mean']:.2f} ± {100 * rate['spread']:.2f}" for rate in one.values()))
        for name, one in figures["files"].items()
    )
    return [
        f"Open set: {figures['enrolled']} people enrolled with one photograph each, {figures['strangers']:,} others as "
        f"strangers, {figures['draws']} draws; share of {figures['asked']:.0f} photographs of the enrolled that are "
        "named rightly, mean ± spread:",
        "",
        *table("crop, file | rank 1, % | at FAR 1e-2, % | at FAR 1e-3, %", rows),
    ]


def _triplets(figures: dict[str, Any]) -> list[str]:
    header = "embedding | accuracy, % | AUC | positive is nearer, % | loss"
    return [
        f"Triplets: {2 * figures['triplets']} decisions on {figures['test_people']:,} people of LFW's development set, "
        f"heads trained on {figures['train_photographs']:,} photographs of {figures['train_people']:,} others, "
        f"{figures['seeds']} seeds:",
        "",
        *table(header, (_way(name, one) for name, one in figures["ways"].items())),
    ]


def _way(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    spread = "" if one["spread"] is None else f" ± {100 * one['spread']:.2f}"
    accuracy = f"{100 * one['accuracy']:.2f}{spread}"
    return name, accuracy, f"{one['auc']:.4f}", f"{100 * one['in_order']:.1f}", f"{one['triplet_loss']:.4f}"


def _unknown(figures: dict[str, Any]) -> list[str]:
    files = figures["files"]
    first = next(iter(files.values()))
    header = "file | AUROC, best score | FAR, kinds not calibrated with [least, most round] | FRR on test [95 %]"
    return [
        f"Unknown animals: fifteen of twenty kinds trained, five held out, in {len(first['rounds'])} rounds; the "
        f"threshold asked for FAR {figures['far_asked']:g}. FRR is of right answers that are withheld:",
        "",
        *table(header, (_withheld(name, one) for name, one in files.items())),
    ]


def _withheld(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    best = max(one["auroc"], key=lambda kind: one["auroc"][kind])
    auroc = f"{one['auroc'][best]:.4f} ({best.replace('_', ' ')})"
    return name, auroc, _rate(one["far_new"]), _rate(one["frr_check"])


def _rate(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['rate']:.3f} [{low:.3f}, {high:.3f}] of {one['count']:,}"


def _identify(figures: dict[str, Any]) -> list[str]:
    measured = figures["stages"]
    kinds = list(next(iter(measured.values())))
    stages = [name for name in kinds if not name.startswith("search") and name != "whole"]
    searches = [name for name in kinds if name.startswith("search")]
    named = [f"search of {int(name.split()[1]):,}" for name in searches]
    rows = (
        (
            name,
            *(f"{one[stage]:.1f}" for stage in stages),
            *(f"{one[each]:.2f}" for each in searches),
            f"{one['whole']:.0f}",
        )
        for name, one in measured.items()
    )
    return [
        "`facectl faces identify`, milliseconds a photograph by stage on two cores:",
        "",
        *table(f"file, photograph | {' | '.join((*stages, *named))} | whole", rows),
    ]


def _search(figures: dict[str, Any]) -> list[str]:
    shown = [one for one in figures["searches"] if one["k"] == 1 and one["people"] == one["rows"]]
    over = [
        f"{counted(one['queries'], 'face')} among {one['rows']:,} people ({1000 * one['search_ms']:.0f} µs)"
        for one in shown
        if one["rows_ratio"] > figures["wanted"]
    ]
    missed = f"; over that is {', '.join(over)}" if over else ""
    rows = (
        (
            f"{one['rows']:,}",
            one["queries"],
            f"{one['search_ms']:.3f}",
            f"{one['rows_ratio']:.2f}",
            f"{one['ratio']:.2f}",
        )
        for one in shown
    )
    return [
        "The most alike of so many people, one photograph each, against numpy's own matrix product with the rows of "
        "their embeddings, and with the columns that a gallery is read into. Wanted: at most "
        f"{figures['wanted']:g} times that with the rows{missed}:",
        "",
        *table("people | faces | ms | ratio to rows | to columns", rows),
    ]
