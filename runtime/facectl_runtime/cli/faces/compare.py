"""`facectl faces compare`."""

from pathlib import Path
from typing import Annotated

import typer

from facectl_runtime.cli.faces.cuts import threshold_otherwise
from facectl_runtime.cli.faces.options import DetectOption, FaceModelOption, ThresholdOption
from facectl_runtime.cli.options import DeviceOption, JsonOption, ThreadsOption
from facectl_runtime.errors import one_line


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A photograph.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    model: FaceModelOption,
    threshold: ThresholdOption = None,
    detect: DetectOption = True,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> int:
    """Say whether two photographs are of one person: the cosine of their faces, and whether it reaches the threshold.

    Of several faces in a photograph, the largest and most central is compared. Without a threshold, only the cosine.
    """
    import msgspec

    from facectl_runtime.devices import parse_device
    from facectl_runtime.faces.compare import compare_photographs
    from facectl_runtime.faces.embedder import open_embedder
    from facectl_runtime.sources import Source, display_name
    from facectl_runtime.threshold.accepted import is_accepted

    asked = parse_device(device, threads)
    embedder = open_embedder(model, asked)
    one, other = (Source(display_name(path), Path(path)) for path in (first, second))
    similarity, warnings = compare_photographs(embedder, one, other, detect=detect)
    own = embedder.spec.threshold
    least = own.value if own and threshold is None else threshold
    same = None if least is None else is_accepted(similarity, least)
    for warning in warnings:
        _warn(warning)
    if same is None:
        _warn(f"{model}: it has no threshold; facectl faces calibrate {model} --data PHOTOS finds one")
    elif own and threshold is None and (differ := threshold_otherwise(own.found_by, detect=detect)):
        _warn(f"{model}: {differ}")
    if json:
        plain = {
            "similarity": round(similarity, 6),
            "threshold": least,
            "same_person": same,
            "model": display_name(model),
            "engine": embedder.engine.name,
            "device": embedder.engine.device,
            "device_requested": str(asked),
        }
        typer.echo(msgspec.json.encode(plain).decode())
        return 0
    verdict = "" if same is None else f", {'one person' if same else 'two people'} (threshold {least:.3f})"
    typer.echo(f"{similarity:.3f}{verdict}")
    return 0


def _warn(message: str) -> None:
    typer.echo(f"facectl: {one_line(message)}", err=True)
