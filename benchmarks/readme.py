"""The figures of README, as Markdown, out of benchmarks/results; a test holds README to them."""

import json
from typing import Any

from common import OUT


def tables() -> str:
    """Give the tables that README shows."""
    zoo, cold, folder, size = (_read(name) for name in ("zoo", "cold_start", "folder", "install_size"))
    lines = [
        f"Twenty animals of Caltech-101, {zoo['n']} photographs, {zoo['folds']} folds pooled:",
        "",
        "| model | top-1 | 95 % interval | agrees with Keras | MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in zoo["models"].items():
        low, high = one["interval"]
        agreement = "" if one["agreement"] is None else f"{one['agreement']:.4f}"
        size_mb = "" if one["bytes"] is None else f"{one['bytes'] / 1e6:.2f}"
        lines.append(f"| {name} | {one['top1']:.4f} | {low:.4f} to {high:.4f} | {agreement} | {size_mb} |")
    lines += ["", "| what | measured | against | ratio |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in _speed(cold, folder)]
    lines += [
        "",
        f"`facectl[cpu]` downloads {size['downloaded_mb']:.0f} MB and takes {size['installed_mb']:.0f} MB on disk.",
    ]
    return "\n".join(lines)


def _speed(cold: dict[str, Any], folder: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    predict, help_, memory = cold["predict"], cold["help"], folder["peak_mb"]
    return [
        (
            "cold start, `facectl predict MODEL IMAGE --json`",
            _ms(predict["seconds"]),
            f"a bare script of numpy, onnxruntime and PIL: {_ms(predict['floor_seconds'])}",
            f"{predict['ratio']:.2f}",
        ),
        (
            "`facectl --help`",
            _ms(help_["seconds"]),
            f"`import typer`: {_ms(help_['floor_seconds'])}",
            f"{help_['ratio']:.2f}",
        ),
        (
            f"a folder of {folder['count']} photographs of 12 megapixels",
            f"{folder['predict']:.1f} a second",
            f"what decode alone and session alone allow: {folder['bound']:.1f}",
            f"{folder['ratio']:.2f}",
        ),
        (
            "peak memory, 1,000 such photographs",
            f"{memory['1000']:.0f} MB",
            f"100 of them: {memory['100']:.0f} MB",
            f"{memory['1000'] / memory['100']:.2f}",
        ),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _read(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    print(tables())
