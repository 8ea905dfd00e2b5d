"""The contract between training, export and running: a `ModelSpec`, carried inside every model file.

Its JSON stands under the key `facectl.spec` in ONNX `metadata_props`; a run folder holds it as `spec.json`. A reader
accepts nothing that it does not know: a misspelt or surplus key is an error, and a later version says so. Nor
does it accept a spec that was changed after it was written: labels in another order would name the wrong class.
"""

import base64
import hashlib
import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from facectl_runtime.errors import ModelError

SPEC_KEY = "facectl.spec"
SPEC_VERSION = 1
UNKNOWN = "unknown"  # the answer below the threshold
GOLDEN_BYTES = 600_000
NORM_TOLERANCE = 1e-3  # of an embedding's L2 norm to 1; at every precision the normalization is computed in float

Side = Annotated[int, Meta(ge=1, le=4096)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Precision = Literal[
    "fp32", "fp16", "int8", "int8-weights", "int8-qat", "pruned", "clustered", "palette8", "palette6", "palette4"
]
Gate = Literal["passed", "degraded", "unverified"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of the spec: immutable, and strict about its keys."""


class Squash(_Part, frozen=True, tag_field="kind", tag="squash"):
    """The whole picture, stretched to the input's width and height."""


class CenterCrop(_Part, frozen=True, tag_field="kind", tag="center_crop"):
    """The largest centred rectangle of the input's shape, its sides multiplied by `fraction`, scaled to the input."""

    fraction: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Letterbox(_Part, frozen=True, tag_field="kind", tag="letterbox"):
    """The whole picture in its own proportions, centred on a ground of one colour."""

    fill: tuple[Annotated[int, Meta(ge=0, le=255)], ...] = (0, 0, 0)
    """RGB, three levels of 0 to 255."""

    def __post_init__(self) -> None:
        if len(self.fill) != 3:
            raise ValueError(f"letterbox fill has {len(self.fill)} values; RGB has 3")


class FaceAlign(_Part, frozen=True, tag_field="kind", tag="face_align"):
    """A face turned and scaled so that five landmarks fall where the model wants them (Umeyama 1991)."""

    landmarks: tuple[tuple[float, float], ...]
    """Where the five points belong, in input pixels (x, y): right eye, left eye, nose, right and left mouth corner."""

    def __post_init__(self) -> None:
        if len(self.landmarks) != 5:
            raise ValueError(f"face_align has {len(self.landmarks)} landmarks; 5 are needed")


class InputSpec(_Part, frozen=True):
    """How an image of any size becomes the graph's uint8 RGB input, N x height x width x 3."""

    width: Side
    height: Side
    resize: Squash | CenterCrop | Letterbox | FaceAlign


class OutputSpec(_Part, frozen=True):
    """What the graph answers: float32, N x size."""

    kind: Literal["probabilities", "embedding"]
    """`probabilities`: each row sums to 1, calibrated. `embedding`: each row has L2 norm 1."""
    size: Annotated[int, Meta(ge=1)]


class Adapter(_Part, frozen=True):
    """What lies between uint8 RGB pixels and the graph of others, and between its output and probabilities.

    The graph is given (pixel / scale - mean) / std in its own layout and type. The numbers of a quantized graph follow
    from its own quantization parameters.
    """

    layout: Literal["nchw", "nhwc"]
    channels: Literal["rgb", "bgr"]
    scale: Positive
    """255 for pixels of 0 to 1, 1 for pixels of 0 to 255."""
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    """Like `mean`, in the order of the channels that the graph takes."""
    output: Literal["probabilities", "logits"]
    """What the graph gives; `logits` become probabilities by softmax."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))):
            raise ValueError("adapter has a number that is not finite")


class Threshold(_Part, frozen=True, omit_defaults=True):
    """Below `value` the answer is "unknown"; the rates were measured for this very file."""

    value: Annotated[float, Meta(ge=-1, le=1)]
    score: Literal["max_probability", "margin", "negative_entropy", "cosine"]
    """What has to reach it: of an embedding the cosine, of a classifier a score of its probabilities."""
    false_accept_rate: Fraction
    false_accept_count: Annotated[int, Meta(ge=1)]
    """Strangers, or pairs of different people, that the false-accept rate was measured on."""
    false_reject_rate: Fraction
    false_reject_count: Annotated[int, Meta(ge=1)]
    """Known things, or pairs of one person, that the false-reject rate was measured on."""
    asked: Fraction | None = None
    """The false-accept rate that `value` was chosen for."""
    false_accept_interval: tuple[Fraction, Fraction] | None = None
    """95 %, which says more than the rate: that lies near the one asked for by construction."""
    false_reject_interval: tuple[Fraction, Fraction] | None = None
    found_by: str | None = None
    """Of `cosine`: what found the faces that it was chosen on; empty where they were cropped already."""


class Metrics(_Part, frozen=True):
    """Accuracy on the test split, measured for this very file."""

    accuracy: Fraction
    n: Annotated[int, Meta(ge=1)]
    interval: tuple[Fraction, Fraction]
    """95 % Wilson score interval."""

    def __post_init__(self) -> None:
        low, high = self.interval
        if not low <= self.accuracy <= high:
            raise ValueError(f"accuracy {self.accuracy} lies outside its interval {low} to {high}")


class GoldenImage(_Part, frozen=True, omit_defaults=True):
    """One picture to replay, and the answer that this file gave when it was exported."""

    png: bytes
    """A PNG file (base64 in JSON)."""
    expected: tuple[float, ...]
    landmarks: tuple[tuple[float, float], ...] | None = None
    """Of `face_align` alone: the five points that it is aligned by, in pixels of the picture. No such key elsewhere."""


class Golden(_Part, frozen=True):
    """What `facectl verify` replays on any machine, and apps at start."""

    images: Annotated[tuple[GoldenImage, ...], Meta(min_length=1)]
    tolerance: Annotated[float, Meta(gt=0, le=1)]
    """Largest |difference| allowed in any probability, or in any component of an embedding."""

    def __post_init__(self) -> None:
        size = sum(len(image.png) for image in self.images)
        if size > GOLDEN_BYTES:
            raise ValueError(f"golden images take {size} bytes; at most {GOLDEN_BYTES} are allowed")


class Provenance(_Part, frozen=True):
    """Where the model comes from."""

    recipe: Text
    seed: Count
    data_fingerprint: Sha256 | None
    """SHA-256 over the sorted (label, content hash) pairs of every image used; None of a model of others."""
    backbone: Text
    weights_sha256: Sha256 | None
    """Of the pretrained file; None when trained from scratch."""
    weights_licence: Text | None
    packages: dict[str, str]
    """Package name to version, of those that made the model."""
    created: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    """UTC, ISO 8601."""


class ModelSpec(_Part, frozen=True, kw_only=True):
    """Everything that running a model needs to know beyond its graph, and everything that proves it."""

    spec_version: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
    task: Literal["classify", "embed"]
    precision: Precision
    gate: Gate | None = None
    """Whether this file was found to answer as the trained model does. `degraded`: it was not, and was let out on
    request. `unverified`: nothing on the machine that exported it could run it. None for what was not exported."""
    labels: tuple[Text, ...]
    """Class names in output order; empty for `embed`."""
    input: InputSpec
    output: OutputSpec
    adapter: Adapter | None = None
    """Of a model of others alone. What facectl exports takes pixels and gives answers by itself, and its JSON has no
    such key."""
    provenance: Provenance
    embedding_id: Text | None = None
    """For `embed`: the run and layer it comes from. A gallery belongs to this, whatever the precision."""
    threshold: Threshold | None = None
    metrics: Metrics | None = None
    golden: Golden | None = None
    graph_sha256: Sha256 | None = None
    """Of the file without its metadata: what `verify` knows a damaged or edited graph by."""
    spec_sha256: Sha256 | None = None
    """Of the spec's own JSON with null in this place. It stands in JSON only: `encode` fills it in, `decode` checks it
    and takes it out, so that a spec made of another carries no digest that is not its own."""

    def __post_init__(self) -> None:
        self._check_task()
        self._check_labels()
        if self.adapter and self.task != "classify":
            raise ValueError("an adapter belongs to a model whose task is classify, and to no other")
        if self.adapter is None and self.provenance.data_fingerprint is None:
            raise ValueError("provenance has no data_fingerprint, which only a model with an adapter may lack")
        aligned = isinstance(self.input.resize, FaceAlign)
        for number, image in enumerate(self.golden.images if self.golden else ()):
            if aligned != (image.landmarks is not None and len(image.landmarks) == 5):
                raise ValueError(f"golden image {number}: five landmarks belong to face_align, and to no other resize")
            if len(image.expected) != self.output.size:
                raise ValueError(
                    f"golden image {number} expects {len(image.expected)} values; the output has {self.output.size}"
                )
            if not all(math.isfinite(value) for value in image.expected):
                raise ValueError(f"golden image {number} expects a value that is not finite")

    def _check_task(self) -> None:
        kind = "probabilities" if self.task == "classify" else "embedding"
        if self.output.kind != kind:
            raise ValueError(f"a model whose task is {self.task} gives {kind}, not {self.output.kind}")
        if self.threshold and (self.threshold.score == "cosine") != (self.task == "embed"):
            wanted = "cosine" if self.task == "embed" else "its probabilities"
            raise ValueError(
                f"a model whose task is {self.task} has a threshold on {wanted}, not {self.threshold.score}"
            )
        if (self.task == "embed") != (self.embedding_id is not None):
            raise ValueError("embedding_id belongs to a model whose task is embed, and to no other")

    def _check_labels(self) -> None:
        if self.task == "embed":
            if self.labels:
                raise ValueError("a model whose task is embed has no labels")
            return
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise ValueError("labels must be two or more different names")
        if len(self.labels) != self.output.size:
            raise ValueError(f"{len(self.labels)} labels for an output of {self.output.size}")
        for label in self.labels:
            if not label.isprintable() or label != label.strip():
                raise ValueError(f"label {label!r} has control characters or blanks at its ends")


def encode(spec: ModelSpec) -> str:
    """Write a spec as JSON, one line, with the digest of that line in it."""
    plain = _plain(spec)
    plain["spec_sha256"] = None
    plain["spec_sha256"] = hashlib.sha256(msgspec.json.encode(plain)).hexdigest()
    return msgspec.json.encode(plain).decode()


def decode(text: str | bytes, where: str) -> ModelSpec:
    """Read a spec from JSON, strictly.

    `where` names the file in messages. Raises `ModelError` for JSON that is no spec, for one that contradicts itself,
    for one of a later version and for one that was changed after `encode` wrote it.
    """
    try:
        version = msgspec.json.decode(text, type=_Version).spec_version
        if version > SPEC_VERSION:
            raise ModelError(
                f"{where}: its spec has version {version} and this facectl reads {SPEC_VERSION}; "
                "upgrade with: pip install -U facectl"
            )
        spec = msgspec.json.decode(text, type=ModelSpec)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where}: its facectl spec is not valid: {error}; train or export the model again") from error
    _check_digest(text.encode() if isinstance(text, str) else text, spec.spec_sha256, where)
    return msgspec.structs.replace(spec, spec_sha256=None)


def _check_digest(text: bytes, said: str | None, where: str) -> None:
    """Hold a spec to the digest in it. Raises `ModelError`."""
    # The bytes as they were read, not the fields: another writer's order and numbers count as that writer wrote them.
    blank = text.strip().replace(f'"spec_sha256":"{said}"'.encode(), b'"spec_sha256":null')
    found = hashlib.sha256(blank).hexdigest()
    if found != said:
        met = f"its spec_sha256 says {said[:12]}" if said else "it has no spec_sha256"
        raise ModelError(
            f"{where}: its facectl spec was changed after it was written (its SHA-256 is {found[:12]}, {met}); "
            "restore the file from a copy, or train or export the model again"
        )


def summary(spec: ModelSpec) -> dict[str, object]:
    """Give the spec as plain JSON values with each golden PNG cut down to its size, for people and `inspect --json`."""
    plain = _plain(spec)
    del plain["spec_sha256"]  # of the whole JSON, which this is not
    if isinstance(golden := plain.get("golden"), dict):
        for image in golden["images"]:
            image["png"] = f"<{len(base64.b64decode(image['png']))} bytes>"
    return plain


def _plain(spec: ModelSpec) -> dict[str, object]:
    """Give the spec as plain JSON values, with `adapter` only where there is one: other readers do not know the key."""
    plain: dict[str, object] = msgspec.to_builtins(spec)
    if spec.adapter is None:
        del plain["adapter"]
    return plain


class _Version(msgspec.Struct):
    spec_version: int
