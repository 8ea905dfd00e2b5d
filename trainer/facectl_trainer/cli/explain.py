"""`facectl explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import DeviceOption, JsonOption
from facectl_runtime.errors import one_line

if TYPE_CHECKING:
    from facectl_trainer.explain import Explained


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `facectl train` wrote.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.")],
    out: Annotated[
        Path | None, typer.Option(help="The picture to write, a PNG. [default: IMAGE's name with .explained.png, here]")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="The layer of Grad-CAM and of the upper maps. "
            "[default: the last of the main path with maps of 5 × 5 or more]"
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Another class to show what speaks for it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the picture that is there.")] = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Show where a trained model looked.

    The picture holds the photograph as the model sees it, Grad-CAM of the answer (and of --label), and the activation
    maps of a lower and an upper layer.
    """
    from facectl_runtime.devices import parse_device
    from facectl_trainer.explain import explain
    from facectl_trainer.framework import use_device
    from facectl_trainer.reports.output import check_out, check_png, write_whole

    target = out or Path(f"{image.stem}.explained.png")
    check_png(target)
    check_out(target, force)
    used = use_device(asked := parse_device(device))
    explained = explain(run, image, label, layer)
    write_whole(target, explained.picture)
    if json:
        typer.echo(_json(explained, run, image, target, {"device": used, "device_requested": str(asked)}))
        return
    first, probability = explained.answers[0]
    typer.echo(one_line(f"{probability:7.1%}  {first}  {image}"))
    typer.echo(one_line(f"{target} shows what speaks for it (Grad-CAM of {explained.layers.upper})"))


def _json(explained: "Explained", run: Path, image: Path, target: Path, device: dict[str, str]) -> str:
    import msgspec

    first, probability = explained.answers[0]
    return msgspec.json.encode(
        {
            "model": str(run),
            **device,
            "source": str(image),
            "label": first,
            "probability": probability,
            "top": [{"label": label, "probability": value} for label, value in explained.answers[:5]],
            "layers": {"lower": explained.layers.lower, "upper": explained.layers.upper},
            "picture": str(target),
        }
    ).decode()
