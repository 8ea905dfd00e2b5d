"""A threshold put into a model's spec, with the checksums beside the model."""

import os
from pathlib import Path

from msgspec.structs import replace

from facectl_runtime import sums
from facectl_runtime.engines import format_of
from facectl_runtime.errors import ModelError, UsageError
from facectl_runtime.files import alone_in
from facectl_runtime.spec import ModelSpec
from facectl_runtime.threshold.calibrated import Calibrated


def check_signable(model: Path) -> None:
    """Refuse a model into which no threshold can be put: raise `ModelError`, or `UsageError` where it is read-only."""
    if not os.access(model.resolve().parent, os.W_OK):
        raise UsageError(
            f"{model}: its folder cannot be written, so that no threshold can be kept; use a copy elsewhere"
        )
    if format_of(model).sign is None:
        raise ModelError(f"{model}: a threshold cannot be put into such a model; use an .onnx, .tflite or a run folder")


def sign(model: Path, calibrated: Calibrated, measured: ModelSpec | None = None) -> None:
    """Put a threshold into a model's spec, and bring the checksums beside it up to date, where they name it.

    `measured`: the spec as it was when measuring began. Of two processes that sign in one folder, one waits for the
    other. A process that is killed between the two steps leaves checksums that are not the model's; signing it again
    mends them.

    Raises `ModelError`, also where it is damaged, or another model by now.
    """
    check_signable(model)
    model = model.resolve()  # of a link, the file that it leads to
    reader = format_of(model)
    assert reader.sign is not None
    with alone_in(model.parent):
        spec = reader.read_spec(model)
        if measured and (spec.graph_sha256, spec.provenance) != (measured.graph_sha256, measured.provenance):
            raise ModelError(f"{model}: became another model while it was measured; calibrate it again")
        if not reader.intact(model, spec):  # to sign it, and its checksum, would call it whole
            raise ModelError(
                f"{model}: it is not as it was exported: damaged, or edited since; copy or export it again"
            )
        reader.sign(model, replace(spec, threshold=calibrated.threshold()))
        sums.renew(model)
