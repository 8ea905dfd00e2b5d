"""`facectl train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import DeviceOption, JsonOption, QuietOption
from facectl_runtime.errors import one_line

if TYPE_CHECKING:
    from facectl_trainer.train import Trained


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, such as zoo, or a .toml file.")],
    data: Annotated[
        Path, typer.Option(help="A folder with one folder of images a class, or with train, val and test.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder; its name becomes the model's. [default: runs/RECIPE]")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Another backbone than the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the split and the first weights.")] = 0,
    fold: Annotated[str | None, typer.Option(metavar="K/N", help="Test on the K-th of N folds.")] = None,
    people: Annotated[
        bool, typer.Option("--people", help="The photographs show people: none of them goes into an exported file.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace the run folder that is there, exported files and all, once this run is done."
        ),
    ] = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a classifier on folders of photographs.

    Images that cannot be read are listed and left out. The features of a frozen backbone are kept in FACECTL_HOME, so
    that a second run on the same photographs is quick.
    """
    import msgspec

    from facectl_runtime.devices import parse_device
    from facectl_trainer.data.split import parse_fold
    from facectl_trainer.recipe import load_recipe
    from facectl_trainer.train import Job, train

    name, chosen = load_recipe(recipe)
    head = msgspec.structs.replace(chosen.head, epochs=epochs or chosen.head.epochs)
    chosen = msgspec.structs.replace(
        chosen, head=head, backbone=backbone or chosen.backbone, people=people or chosen.people
    )
    target = out or Path("runs") / name
    job = Job(name, chosen, data, target, parse_device(device), seed, parse_fold(fold) if fold else None, force)
    trained = train(job, quiet)
    typer.echo(msgspec.json.encode(_plain(trained)).decode() if json else _text(trained))


def _plain(trained: "Trained") -> dict[str, object]:
    import msgspec

    return {
        "run": str(trained.out),
        "images": trained.counts,
        "epochs": trained.epochs,
        "left_out": trained.left_out,
        **msgspec.to_builtins(trained.metrics),
    }


def _text(trained: "Trained") -> str:
    test, calibration = trained.metrics.test, trained.metrics.calibration
    low, high = test.interval
    lines = [one_line(f"left out: {path}: {reason}") for path, reason in trained.left_out.items()]
    lines += [
        f"images: {', '.join(f'{count} {part}' for part, count in trained.counts.items())}; {trained.epochs} epochs",
        f"calibration on val: temperature {calibration.temperature:.3f}, "
        f"cross-entropy {calibration.val_loss_before:.4f} → {calibration.val_loss_after:.4f}",
        f"test accuracy {test.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, n = {test.n}",
        f"{trained.out} is ready; next: facectl export {trained.out}",
    ]
    return "\n".join(lines)
