"""The figures of README, as Markdown, out of benchmarks/results; a test holds README to them."""

from typing import Any

from common import has_results, read_results, table
from facectl_runtime.metrics import wilson
from readme_faces import faces

PHOTOGRAPHS = {
    "shapes": "ellipses and rectangles",
    "lfw10": "ten people of LFW",
    "twins": "two sisters of LFW",
    "age": "three ages of UTKFace",
    "pair": "llama or gerenuk",
}


FORMATS = {"onnx": "ONNX", "tflite": "TFLite", "coreml": "Core ML"}


def tables() -> str:
    """Give the tables that README shows."""
    cold, folder, size = (read_results(name) for name in ("cold_start", "folder", "install_size"))
    lines = _exports(read_results("exports"))
    if has_results("core_ml"):
        lines += ["", *_core_ml(read_results("core_ml"))]
    if has_results("mediapipe"):
        lines += ["", *_mediapipe(read_results("mediapipe"))]
    lines += ["", *_backbones(read_results("backbones")), "", *_recipes()]
    lines += ["", *_near_duplicates(read_results("near_duplicates")), "", _straddling(read_results("straddling"))]
    extraction = _extraction(read_results("features")) if has_results("features") else []
    lines += faces()
    rows = [*_speed(cold, folder), *_video(read_results("video")), *extraction, *_check()]
    lines += ["", *table("what | measured | against | ratio", rows)]
    lines += [
        "",
        *_peers(read_results("peers")),
        "",
        *_live(read_results("live")),
        "",
        *_raspberry_pi(read_results("raspberry_pi")),
    ]
    lines += [
        "",
        f"`facectl[cpu]` downloads {size['downloaded_mb']:.0f} MB and takes {size['installed_mb']:.0f} MB on disk.",
    ]
    return "\n".join(lines)


def _exports(figures: dict[str, Any]) -> list[str]:
    """Show what each file costs: every file there is of one network, and several networks by folds."""
    whole = figures["matrix"]
    header = "file | top-1 | drop, points [95 %] | agrees | MB | zipped | time, × fp32 | made in"
    lines = [
        f"Every file of one EfficientNet-Lite0 on twenty animals, {whole['n']} test images; the trained model's top-1 "
        f"is {whole['trained']:.4f}. All of it took {whole['minutes']:.1f} minutes and {whole['peak_gb']:.1f} GB:",
        "",
        *table(header, (_file(name, one) for name, one in whole["files"].items())),
    ]
    if figures["networks"]:
        lines += [
            "",
            f"{figures['folds']} folds pooled: each photograph tested once, by a network that had not seen it. The "
            "gate judges each fold's file by itself, where one point of about 200 animals is two images, and 0.97 of "
            "agreement lets six be answered otherwise: with one more a file is refused.",
            "",
            *_folded(f"{', '.join(figures['networks'])}, by file", _networks(figures["networks"])),
        ]
    return lines


def _networks(networks: dict[str, Any]) -> list[str]:
    header = (
        "network | n | trained | file | top-1 | drop, points [95 %] | agrees | MB | time, × fp32 | gate passed | wanted"
    )
    rows = []
    for name, one in networks.items():
        for file, row in one["files"].items():
            network = (name, one["n"], f"{one['trained']:.4f}")
            wanted = f"drop ≤ {100 * row['wanted']:.1f}" if row.get("wanted") else ""
            rows.append((*network, *_cells(file, row), _times(row), f"{row['passed']} of {row['of']}", wanted))
    return table(header, rows)


def _folded(summary: str, table: list[str]) -> list[str]:
    """Show a long table when its line is clicked on."""
    return ["<details>", f"<summary>{summary}</summary>", "", *table, "", "</details>"]


def _core_ml(figures: dict[str, Any]) -> list[str]:
    """Show how near each package answers to Keras off the Mac, and how fast it is read and run."""
    ops, networks = figures["ops"], figures["networks"]
    return [
        "Core ML off the Mac, against the Keras model on its test images: in 32-bit floats, and with every value "
        "rounded to the type that the program declares. The time is that of the fp32 program against the same run's "
        f"ONNX export, in turn. {ops['known']} of the {ops['emitted']} ops are known that coremltools' TensorFlow and "
        f"PyTorch frontends can emit for a classifier; missing: {', '.join(ops['missing']) or 'none'}.",
        "",
        *_folded(f"{', '.join(networks)}, by precision", _packages(networks)),
    ]


def _packages(networks: dict[str, Any]) -> list[str]:
    header = (
        "network | n | file | largest \\|Δp\\| | agrees | rounded: largest \\|Δp\\| | agrees | read in | time, × ONNX"
    )
    rows = []
    for name, network in networks.items():
        for precision, one in network["files"].items():
            plain = (f"{one['largest']:.2g}", f"{one['agreement']:.4f}")
            rounded = (f"{one['declared_largest']:.2g}", f"{one['declared_agreement']:.4f}")
            time = f"{network['times_onnx']:.2f}" if precision == "fp32" else ""
            rows.append((name, network["n"], precision, *plain, *rounded, f"{one['read_seconds']:.2f} s", time))
    return table(header, rows)


def _mediapipe(figures: dict[str, Any]) -> list[str]:
    """Say how often MediaPipe names what facectl names."""
    files = figures["files"]
    version = next(iter(files.values()))["mediapipe"]
    shares = "; ".join(
        f"`{name}` {one['resized']:.4f} on the same pixels, {one['photographs']:.4f} by its own resize"
        for name, one in files.items()
    )
    return [f"MediaPipe {version}'s ImageClassifier gives facectl's label to {figures['n']} photographs: {shares}."]


def _file(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return *_cells(name, row), f"{row['zipped'] / 1e6:.2f}", _times(row), f"{row['seconds']:.0f} s"


def _cells(name: str, row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Give file, top-1, drop, agreement and size; of a file that was not compared in that run, its size alone."""
    kind, precision = name.split()
    file, size = f"{FORMATS[kind]} {precision}", f"{row['bytes'] / 1e6:.2f}"
    if "top1" not in row:
        return file, "in the table below", "", "", size
    low, high = row["drop_interval"]
    drop = f"{100 * row['drop']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
    return file, f"{row['top1']:.4f}", drop, f"{row['agreement']:.4f}", size


def _times(row: dict[str, Any]) -> str:
    return f"{row['times_fp32']:.2f}" if row.get("times_fp32") else ""


def _backbones(figures: dict[str, Any]) -> list[str]:
    """Show each backbone's frozen features on the twenty animals, best first."""
    rows = (
        (name, one["side"], f"{one['top1']:.4f}", "{:.4f} to {:.4f}".format(*one["interval"]))
        for name, one in sorted(figures["backbones"].items(), key=lambda item: -item[1]["top1"])
    )
    return [
        f"The same animals, a softmax layer on the frozen features of each backbone, {figures['folds']} folds pooled:",
        "",
        *table("backbone | input | top-1 | 95 % interval", rows),
    ]


def _recipes() -> list[str]:
    """Show the recipes on photographs of the write-ups' kind."""
    rows = []
    for name, photographs in PHOTOGRAPHS.items():
        for one in read_results(name)["variants"].values() if has_results(name) else ():
            spread = "" if one["spread"] is None else f" ± {one['spread']:.4f}"
            low, high = wilson(round(one["mean"] * one["n"]), one["n"])
            interval = "" if name == "twins" else f"{low:.4f} to {high:.4f}"  # no share of n images, but balanced
            rows.append((photographs, one["what"].rstrip("."), f"{one['mean']:.4f}{spread}", interval, one["n"]))
    return [
        "The recipes: mean ± standard deviation of three seeds, each on its own test split of n images, and the 95 % "
        "interval (Wilson) at the mean. The sisters (balanced accuracy; one seed where the network is trained) and the "
        "pair: five folds pooled.",
        "",
        *table("photographs | trained | top-1 | 95 % interval | n", rows),
    ]


def _near_duplicates(figures: dict[str, Any]) -> list[str]:
    """Show how many planted copies are found, beside what people use instead."""
    rows = (
        (kind, *(f"{one[tool][name]:.3f}" for tool in ("facectl", "phash") for name in ("recall", "precision")))
        for kind, one in figures["copies"].items()
    )
    return [
        f"Near duplicates: a copy of each of the {figures['n']} animals, planted kind by kind, as `facectl data check` "
        f"finds them and as pHash does (imagehash, {figures['bits']} bits of 64). The animals have "
        f"{figures['own_pairs']} such pairs of their own, most of them leopards and their mirror images.",
        "",
        *table("copies | recall | precision | pHash: recall | precision", rows),
    ]


def _straddling(figures: dict[str, Any]) -> str:
    """Say what near copies on both sides of a split are worth to a model."""
    apart, together = figures["splits"].values()
    apart_top1, together_top1 = (f"{one['mean']:.4f} ± {one['spread']:.4f}" for one in (apart, together))
    return (
        f"Of the animals' test images {100 * apart['straddling']:.0f} % have such a copy in another part of a random "
        f"split; EfficientNet-Lite0's top-1 is {apart_top1} there, and {together_top1} where `facectl data split "
        f"--near` keeps them together ({figures['seeds']} seeds of each)."
    )


def _check() -> list[tuple[str, str, str, str]]:
    """Show how fast photographs are checked, and in how much memory."""
    figures = read_results("check_speed")
    rows = [
        (
            f"`facectl data check`, {one['n']:,.0f} photographs: {name}",
            f"{one['check']:.0f} a second",
            f"decode alone: {one['decode']:.0f}",
            f"{one['ratio']:.2f}",
        )
        for name, one in figures["sets"].items()
    ]
    (_, few), (count, many) = figures["many"].items()
    return [
        *rows,
        (
            f"its memory, {int(count):,} pictures ({many['seconds']:.0f} s)",
            f"{many['peak_mb']:.0f} MB",
            f"a tenth of them: {few['peak_mb']:.0f} MB",
            f"{many['peak_mb'] / few['peak_mb']:.2f}",
        ),
    ]


def _extraction(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (
            f"features of photographs by {name}",
            f"{one['extract']:.1f} a second",
            f"Keras's forward pass alone: {one['bare']:.1f}; ours alone: {one['graph']:.1f}",
            f"{one['ratio']:.2f}",
        )
        for name, one in figures["extraction"].items()
    ] + [
        (
            "`facectl train lfw10`, from data to trained head, warm cache",
            f"{figures['lfw10_warm_s']:.0f} s",
            f"cold cache: {figures['lfw10_cold_s']:.0f} s",
            f"{figures['lfw10_warm_s'] / figures['lfw10_cold_s']:.2f}",
        )
    ]


def _speed(cold: dict[str, Any], folder: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    help_, memory = cold["help"], folder["peak_mb"]
    engines = {"onnx": "onnxruntime on the same optimized graph", "tflite": "ai_edge_litert"}
    starts = [
        (
            f"cold start, `facectl predict {name} IMAGE --json`",
            _ms(one["seconds"]),
            f"a bare script of numpy, PIL and {engines[name.rpartition('.')[2]]}: {_ms(one['floor_seconds'])}",
            f"{one['ratio']:.2f}",
        )
        for name, one in cold["predict"].items()
    ]
    return [
        *starts,
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


def _video(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    (few, less), (many, more) = figures["peak_mb"].items()
    return [
        (
            f"every frame of a video, {figures['width']} × {figures['height']}, H.264",
            f"{figures['predict']:.1f} a second",
            f"what decode alone and session alone allow: {figures['bound']:.1f}",
            f"{figures['ratio']:.2f}",
        ),
        (f"its memory, {many} frames", f"{more:.0f} MB", f"{few} frames: {less:.0f} MB", f"{more / less:.2f}"),
    ]


def _peers(figures: dict[str, Any]) -> list[str]:
    """Show the same classifier as people run it without facectl."""
    header = (
        "program | cold start, least to most | test photographs a second | 12 megapixels a second "
        "| peak memory | installed | top-1 | other"
    )
    return [
        "The same trained classifier on the same photographs, whole processes in turn, their start included: top-1 is "
        f"of its {figures['n']} test photographs, and `other` counts those to which the answer is not the trained "
        "model's. The scripts are [OpenCV's](benchmarks/opencv_script.py), with its own resize, and "
        "[Keras's](benchmarks/keras_script.py).",
        "",
        *table(header, (_peer(name, one, figures["rounds"]) for name, one in figures["peers"].items())),
    ]


def _peer(name: str, one: dict[str, Any], rounds: list[str]) -> tuple[object, ...]:
    start, small, large = (one[what] for what in rounds)
    return (
        name,
        f"{_ms(start['seconds'])}, {_ms(min(start['each']))} to {_ms(max(start['each']))}",
        *(f"{rate['images_a_second']:.1f}" for rate in (small, large)),
        *(f"{size:.0f} MB" for size in (large["peak_mb"], one["installed_mb"])),
        f"{one['accuracy']:.4f}",
        one["other_label"],
    )


def _live(figures: dict[str, Any]) -> list[str]:
    """Show how old answers are, how a lost camera comes back, and how memory grows."""
    header = (
        "camera | one inference, while the camera is read | age of an answer, p95 "
        "| two frames and an inference | since it was sent, p95 | seen, answered | longest way back "
        "| memory a minute, median [95 %] | by a line | in all"
    )
    return [
        f"A camera of {figures['fps']} frames a second, {figures['width']} × {figures['height']}, on the loopback, and "
        f"a model that is slower (ResNet50); memory over {figures['minutes']:g} minutes.",
        "",
        *table(header, (_camera(name, one) for name, one in figures["cameras"].items())),
    ]


def _camera(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    memory, frames, back = one["memory"], one["frames"], one["back"]
    growth = [
        f"{memory[f'{kind}kb_a_minute']:+.0f} kB [{memory[f'{kind}interval'][0]:+.0f}, "
        f"{memory[f'{kind}interval'][1]:+.0f}]"
        for kind in ("", "line_")
    ]
    return (
        name,
        f"{_ms(one['inference']['alone'])}, {_ms(one['inference']['beside_the_camera'])}",
        _ms(one["age"]["p95"]),
        _ms(one["age"]["bound"]),
        _ms(one["since_sending"]["p95"]) if "since_sending" in one else "",
        f"{frames['seen']:,}, {frames['answered']:,}",
        f"{max(each['back'] for each in back):.2f} s of {len(back)}",
        *growth,
        f"{memory['change_kb']:+.0f} kB of {memory['resident_kb'][-1] / 1e3:.0f} MB",
    )


def _raspberry_pi(figures: dict[str, Any]) -> list[str]:
    """Show what an emulated board answers."""
    rows = []
    for board, one in figures["boards"].items():
        for file, row in one["files"].items():
            verify = f"{'passed' if row['verify']['passed'] else 'FAILED'}, {row['verify']['largest']:.1g}"
            rows.append((board, file, verify, f"{row['agreement']:.3f}", f"{row['largest']:.1g}"))
    return [
        f"An emulated Raspberry Pi (QEMU, Debian's arm64), `facectl[cpu,tflite]` of {figures['installed_mb']:.0f} "
        f"MB: `facectl verify`, and `predict` against this machine on {figures['n']} photographs.",
        "",
        *table("board, emulated | file | verify, largest \\|Δ\\| | predict: agrees | largest \\|Δp\\|", rows),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


if __name__ == "__main__":
    print(tables())
