"""What is asked for, and a refusal of what cannot be made of a run, before any work is done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facectl_export import calibration
from facectl_export.calibration import Method
from facectl_export.formats import WRITERS, Settings
from facectl_export.make import AUTO, NONE
from facectl_export.precision import PRECISIONS, Cell
from facectl_export.tuning.fine_tune import check_backbone
from facectl_runtime.errors import MissingExtraError, UsageError, did_you_mean
from facectl_runtime.spec import Precision
from facectl_trainer.run import Run


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    run: Path
    out: Path
    cells: Sequence[Cell]
    settings: Settings = field(default_factory=Settings)
    method: Method = "auto"
    calibration_images: int = calibration.IMAGES
    keep_float: str | Sequence[str] = AUTO
    epochs: int | None = None
    """Of each fine-tuning."""
    degraded: frozenset[Precision] = frozenset()
    data: Path | None = None
    """Where the run's photographs lie now, if they were moved."""
    force: bool = False
    quiet: bool = False


def check(order: Order, run: Run) -> None:
    """Raise `UsageError` for what cannot be made of a run, and for options that nothing asked for heeds."""
    if order.out.resolve() == run.folder.resolve():
        raise UsageError(f"{order.out}: the run itself; leave --out away to have its files in {run.folder / 'export'}")
    formats = {cell.format for cell in order.cells}
    for one in formats:
        WRITERS[one].require_packages()
    if order.settings.batch not in ("default", 1) and "coreml" in formats:
        raise UsageError("--batch: Core ML takes one image at a time; export it without")
    for option, what, instead in _idle(order):
        raise UsageError(f"{option}: nothing asked for is {what}; leave it out, or ask for {instead}")
    for cell in order.cells:
        _check_cell(cell, order, run)


def check_layers(order: Order, model: Any) -> None:
    """Raise `UsageError` for a layer to keep float that is no convolution or dense layer of a Keras model."""
    names = [layer.name for layer in model.layers if any("kernel" in weight.name for weight in layer.weights)]
    for name in order.keep_float if not isinstance(order.keep_float, str) else ():
        if name not in names:
            raise UsageError(
                f"--keep-float {name}: no convolution or dense layer of {model.name}{did_you_mean(name, names)}; its "
                f"last are {', '.join(names[-4:])}"
            )


def _idle(order: Order) -> Iterator[tuple[str, str, str]]:
    """Give each option that would do nothing, what it is for, and what has that."""
    usual, formats = Settings(), {cell.format for cell in order.cells}
    if all(cell.recipe.network == "trained" for cell in order.cells) and order.epochs is not None:
        yield "--epochs", "fine-tuned", "int8-qat, pruned or clustered"
    if all(cell.recipe.integer != "arithmetic" for cell in order.cells):
        if order.keep_float not in (AUTO, NONE):
            yield "--keep-float", "integer throughout", "int8"
        if order.method != "auto":
            yield "--calibrate", "calibrated", "int8"
        if order.calibration_images != calibration.IMAGES:
            yield "--calibration-images", "calibrated", "int8"
    if order.settings.opset != usual.opset and "onnx" not in formats:
        yield "--opset", "ONNX", "--format onnx"
    if order.settings.ios != usual.ios and "coreml" not in formats:
        yield "--ios", "Core ML", "--format coreml"
    if order.degraded != set(PRECISIONS):  # as `all` is
        for precision in sorted(order.degraded - {cell.precision for cell in order.cells}):
            yield "--allow-degraded", precision, "it"


def _check_cell(cell: Cell, order: Order, run: Run) -> None:
    target = cell.recipe.targets[cell.format]
    if cell.format == "coreml" and order.settings.ios < int(target.removeprefix("iOS ")):
        raise UsageError(f"--ios {order.settings.ios}: {cell.precision} needs {target}; raise --ios")
    if cell.recipe.network != "trained":
        if not run.spec.labels:
            raise UsageError(f"{cell.precision}: only a classifier can be fine-tuned; take int8 or fp16")
        check_backbone(run.recipe.backbone, cell.recipe.network)
        _require("tensorflow_model_optimization", f"{cell.precision} needs")
    if cell.format == "tflite" and cell.recipe.integer == "arithmetic" and order.method == "entropy":
        _require("onnxruntime", "--calibrate entropy needs")


def _require(package: str, who: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(f"{who} {package}; install it with: pip install 'facectl[export,cpu]'")
