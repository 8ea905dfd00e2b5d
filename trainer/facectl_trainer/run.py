"""A run folder: what training leaves, and what export reads.

- model.keras: the whole graph, uint8 pixels → probabilities, or an embedding
- spec.json: its `ModelSpec`
- recipe.json: the recipe as it was used
- split.json: which image was for what, with the content hash of each
- history.csv: one row an epoch, of all stages
- metrics.json: the evaluation on the test split, and the calibration
- learnt.json: what its weights had learnt before, where they come from another run
- predictions.csv: each test image, its true class, and the probability of every class
- embeddings.npy: of an embedding in place of that, float32 N × d of the test images in the split's order
- tensorboard/: scalars, the graph and the confusion matrix, for TensorBoard
- report.html, and its pictures in report/
"""

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from facectl_runtime.errors import ModelError, UsageError, reason
from facectl_runtime.evaluate import Answered, Evaluation
from facectl_runtime.files import scratch_beside
from facectl_runtime.labelled import Image, Part, Split, content_hash, read_split
from facectl_runtime.spec import ModelSpec, decode, encode
from facectl_runtime.verification import Verification
from facectl_trainer.backbones import backbone
from facectl_trainer.model import assemble
from facectl_trainer.recipe import SCRATCH, Recipe

MODEL, SPEC, SPLIT, RECIPE = "model.keras", "spec.json", "split.json", "recipe.json"
METRICS, PREDICTIONS, EMBEDDINGS, LEARNT = "metrics.json", "predictions.csv", "embeddings.npy", "learnt.json"
_T = TypeVar("_T")


class Calibration(msgspec.Struct, frozen=True):
    """What the temperature did on val: cross-entropy in nats before and after."""

    temperature: float
    val_loss_before: float
    val_loss_after: float
    n: int


class Metrics(msgspec.Struct, frozen=True):
    """The contents of `metrics.json` of a classifier."""

    test: Evaluation
    calibration: Calibration
    begun_from: str | None = None
    """The run whose weights training began from, and the SHA-256 of its network."""
    fold: str | None = None
    """`K/N` where the test images are one of several folds."""


class EmbedMetrics(msgspec.Struct, frozen=True):
    """The contents of `metrics.json` of an embedding."""

    test: Verification
    """All pairs of test photographs."""
    people: int
    """Of whom the test photographs are."""
    begun_from: str | None = None
    fold: str | None = None


class Learnt(msgspec.Struct, frozen=True):
    """The content hashes of photographs that weights have learnt from."""

    fitted: frozenset[str]
    """Those that they were trained on."""
    steered: frozenset[str]
    """Those that said when to stop."""
    people: frozenset[str] = frozenset()
    """Whom an embedding was trained on, by name."""

    def __or__(self, other: "Learnt") -> "Learnt":
        return Learnt(self.fitted | other.fitted, self.steered | other.steered, self.people | other.people)


_NOTHING = Learnt(frozenset(), frozenset())


@dataclass(frozen=True)
class Run:
    """A run folder that was read."""

    folder: Path
    spec: ModelSpec
    split: Split
    recipe: Recipe
    earlier: Learnt = _NOTHING
    """What its weights had learnt in the runs that it was begun from."""

    @property
    def learnt(self) -> Learnt:
        """What its weights have learnt from, in earlier runs too."""
        hashes = {
            part: (self.split.hashes.get(i.path, "") for i in chosen) for part, chosen in self.split.parts.items()
        }
        people = [image.label for image in self.split.parts.get("train", ())] if self.recipe.embed else []
        here = Learnt(frozenset(hashes.get("train", ())), frozenset(hashes.get("val", ())), frozenset(people))
        return self.earlier | here

    def model(self) -> Any:
        """Load the Keras model: uint8 N × height × width × 3 → float32 N × size. Raises `ModelError`."""
        from facectl_trainer.framework import tensorflow

        tensorflow()
        path = self.folder / MODEL
        # The layers are ours and only their weights are read: a model file can name any function to call.
        model = self._assemble()
        try:
            model.load_weights(str(path))
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
            raise ModelError(f"{path}: cannot be loaded ({reason(error)}); train again") from error
        return model

    def _assemble(self) -> Any:
        body, wanted = backbone(self.recipe.backbone), self.recipe.weights
        pretrained = next((weights for weights in body.weights if weights.name == wanted), None)
        if pretrained is None and wanted != SCRATCH:
            raise ModelError(f"{self.folder}: this facectl knows no weights {wanted!r} of {body.name}; train again")
        try:
            model = assemble(
                body, self.recipe, self.spec.output.size, pretrained.preprocess if pretrained else body.preprocess
            )
        except UsageError as error:
            raise ModelError(f"{self.folder}: its recipe does not fit this facectl ({error}); train again") from error
        if model.input_shape[1:3] != (self.spec.input.height, self.spec.input.width):
            raise ModelError(f"{self.folder}: {body.name} does not take the input that spec.json promises; train again")
        return model

    def images(self, part: Part, data: Path | None = None) -> tuple[Path, list[Image]]:
        """Give (data folder, images) of a part, each file's content checked against the split.

        `data` is where the folder lies now, if it was moved. Raises `UsageError` for a part without images, and for
        files that are gone or changed.
        """
        root = data or Path(self.split.root)
        images = self.split.parts.get(part, [])
        if not images:
            raise UsageError(f"{self.folder}: its split has no {part} images; train again on more data")
        if not root.is_dir():
            raise UsageError(f"{root}: the data folder of this run is not there; give its new place with --data")
        changed = [item.path for item in images if not _unchanged(root / item.path, self.split.hashes.get(item.path))]
        if changed:
            raise UsageError(
                f"{root}: of the run's {part} images, {len(changed)} of {len(images)} are gone or not what they were, "
                f"{changed[0]} first; "
                + ("give --data the folder that this run was trained on, " if data else "")
                + "put them back, or train again"
            )
        return root, images


def read_run(folder: Path) -> Run:
    """Read a run folder. Raises `ModelError` where it is none."""
    if not (folder / MODEL).is_file():
        raise ModelError(f"{folder}: not a run folder (it has no {MODEL}); give one that `facectl train` wrote")
    recipe = _read(folder / RECIPE, Recipe, "recipe")
    run = Run(folder, read_spec(folder), read_split(folder / SPLIT), recipe)
    learnt = folder / LEARNT
    return replace(run, earlier=_read(learnt, Learnt, "list of what was learnt")) if learnt.exists() else run


def read_spec(folder: Path) -> ModelSpec:
    """Read a run folder's spec. Raises `ModelError`."""
    try:
        text = (folder / SPEC).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / SPEC}: {error.strerror}; train again") from error
    return decode(text, str(folder / SPEC))


def sign_run(folder: Path, spec: ModelSpec) -> None:
    """Put another spec into a run folder: it is there as it was, or whole."""
    with scratch_beside(folder / SPEC) as scratch:
        (scratch / SPEC).write_text(encode(spec), encoding="utf-8")
        (scratch / SPEC).replace(folder / SPEC)


def write_run(
    folder: Path,
    model: Any,
    spec: ModelSpec,
    recipe: Recipe,
    split: Split,
    metrics: Metrics | EmbedMetrics,
    learnt: Learnt | None,
) -> None:
    """Write the files of a run into `folder`, where its history is already."""
    model.save(folder / MODEL)
    (folder / SPEC).write_text(encode(spec), encoding="utf-8")
    for name, content in ((RECIPE, recipe), (SPLIT, split), (METRICS, metrics)):
        (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    if learnt:
        (folder / LEARNT).write_bytes(msgspec.json.encode(learnt, order="deterministic"))


def write_predictions(folder: Path, test: Answered, labels: Sequence[str]) -> None:
    """Write a classifier's answers to the test images into its run."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", *labels])
    for image, row in zip(test.images, test.probabilities, strict=True):
        writer.writerow([image.path, image.label, *(f"{value:.6g}" for value in row)])
    (folder / PREDICTIONS).write_text(table.getvalue(), encoding="utf-8")


def write_embeddings(folder: Path, embeddings: npt.NDArray[np.float32]) -> None:
    """Write what an embedding makes of the test images, N × d, into its run."""
    np.save(folder / EMBEDDINGS, embeddings, allow_pickle=False)


def read_embeddings(run: Run) -> npt.NDArray[np.float32]:
    """Read what training made of the test images, float32 N × d. Raises `ModelError`."""
    path, shape = run.folder / EMBEDDINGS, (len(run.split.parts.get("test", [])), run.spec.output.size)
    try:
        found = np.load(path, allow_pickle=False, max_header_size=1000)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)}); train again") from error
    if getattr(found, "shape", None) != shape or found.dtype != np.float32:
        raise ModelError(f"{path}: not the {shape[0]} embeddings of {shape[1]} numbers of this run; train again")
    return np.asarray(found)


def _read(path: Path, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; train again") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a {what} that this facectl knows ({error}); train again") from error


def _unchanged(path: Path, wanted: str | None) -> bool:
    try:
        return content_hash(path) == wanted
    except OSError:
        return False
