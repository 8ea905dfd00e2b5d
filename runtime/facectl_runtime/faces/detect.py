"""Faces found by YuNet, a convolutional network of 53,000 weights (Wu, Peng & Yu 2023), on ONNX Runtime.

Source: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20, 656–665. Its outputs are
decoded here. All places are (x, y) in pixels of the picture, whose left upper corner is (0, 0) and whose first pixel
has its centre at (0.5, 0.5). That is YuNet's own convention: the points that it finds in a photograph and in its mirror
image agree within a tenth of a pixel of its input, on average over 150 faces at any place.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.devices import Device
from facectl_runtime.engines import onnx
from facectl_runtime.engines.base import failing
from facectl_runtime.errors import ImageError, ModelError, UsageError
from facectl_runtime.home import home, weight_folders
from facectl_runtime.image import Pixels, to_input
from facectl_runtime.labelled import content_hash
from facectl_runtime.spec import InputSpec, Squash

Floats = npt.NDArray[np.float32]
Point = tuple[float, float]

DETECT_VERSION = 1
"""Raised with every change that moves a landmark: what was computed from aligned faces is then computed again."""
MIN_SCORE = 0.7
"""Of 300 faces of LFW none scores below it, at any size from 32 to 3,000 pixels; of 54 bystanders two are no face.

Of 993 photographs of animals 39 places score above it, half of them people, most of the others a cougar's face.
"""
MAX_OVERLAP = 0.3
"""Two boxes whose intersection is more than this part of their union are of one face."""
_SAME_PLACE = 0.5
"""Two boxes that overlap by more agree where the face is."""
MIN_SIDE, MAX_SIDE = 320, 1280
"""A picture whose longest side is outside of these, in pixels, is scaled to them.

So 480 faces of 53 pixels are all found in a picture of 4000 × 3333, and all of 300 in pictures of 32 × 32.
"""
_SMALLEST_LEVEL, _MOST_LEVELS = 160, 3
_LARGEST_FACE = 320
"""In pixels of a level; YuNet's boxes of larger ones are loose, and the next level has them at half the size."""
_FULL_DETAIL = 48
"""Below this width in pixels of a level, landmarks are the less exact the smaller the face is."""
_STRIDES = (8, 16, 32)
_OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES)


NO_FACE = "no face was found in it; give a larger or sharper picture, or a ready crop of a face with --no-detect"


class WeightFile(msgspec.Struct, frozen=True):
    """A pinned file of weights."""

    name: str
    """What `facectl weights pull` calls it."""
    file: str
    sha256: str
    """Of its bytes: 64 lower-case hexadecimal digits."""
    licence: str
    """An SPDX identifier."""
    url: str
    """The official address."""
    size: int
    """In bytes."""


DETECTOR = WeightFile(
    name="yunet",
    file="face_detection_yunet_2026may.onnx",
    sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    licence="MIT",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
    "face_detection_yunet_2026may.onnx",
    size=229_738,
)


FOUND_BY = f"{DETECTOR.name} {DETECT_VERSION}"
"""What finds faces here, in a few words: faces that another one found, or nobody, are cut out otherwise."""


class BadWeightsError(UsageError):
    """A file of weights that is not what its name says, or cannot be read."""

    exit_code = 5


class Face(msgspec.Struct, frozen=True):
    """A face found in a picture."""

    box: tuple[float, float, float, float]
    """(left, upper, right, lower) in pixels of the picture, within it."""
    score: float
    """0 to 1."""
    landmarks: tuple[Point, Point, Point, Point, Point]
    """(x, y) of the right eye, left eye, nose, right and left mouth corner, the right being the person's own.

    In pixels of the picture; of a face at the border, some may lie outside of it.
    """


class Candidates(msgspec.Struct, frozen=True):
    """What may be faces, float32, N of each, in pixels."""

    boxes: Floats
    """N × 4: left, upper, right, lower."""
    landmarks: Floats
    """N × 5 × 2: x, y."""
    scores: Floats
    """N: 0 to 1."""
    weights: Floats
    """N: how much each says of the place of a face that several of them are of."""

    def __getitem__(self, which: Any) -> "Candidates":
        return Candidates(self.boxes[which], self.landmarks[which], self.scores[which], self.weights[which])

    def scaled(self, x: float, y: float) -> "Candidates":
        """Give the same in pixels of a picture that is `x` times as wide and `y` times as high."""
        factor = np.array([x, y], np.float32)
        return Candidates(self.boxes * np.tile(factor, 2), self.landmarks * factor, self.scores, self.weights)


def locate() -> Path:
    """Find YuNet's weights in the folder `FACECTL_WEIGHTS_DIR`, or else in `weights` under `FACECTL_HOME`.

    Raises:
        UsageError: there is no file of that name.
        BadWeightsError: a file of that name has other content, or cannot be read.
    """
    for folder in weight_folders():
        path = folder / DETECTOR.file
        if path.is_file():
            _check(path)
            return path
    raise UsageError(
        f"{DETECTOR.file} was not found: run facectl weights pull {DETECTOR.name}, or put it into "
        f"{home() / 'weights'} or into the folder that FACECTL_WEIGHTS_DIR names"
    )


def _check(path: Path) -> None:
    try:
        met = content_hash(path)
    except OSError as error:
        raise BadWeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if met != DETECTOR.sha256:
        raise BadWeightsError(
            f"the file is damaged or another version: {path} (its digest is sha256:{met[:12]}…, wanted is "
            f"sha256:{DETECTOR.sha256[:12]}…); facectl weights pull {DETECTOR.name} --force replaces it"
        )


class Detector:
    """YuNet, ready to find faces; several threads may use one at the same time."""

    def __init__(self, path: Path, device: Device) -> None:
        """Open the file of weights on the CPU, whatever the device, with as many threads as that has cores.

        Raises `ModelError`, and `MissingExtraError` where ONNX Runtime is not installed.
        """
        self._path = path
        self._session: Any = onnx.load(path, device.threads)

    def detect(self, picture: Image.Image | Pixels) -> list[Face]:
        """Find the faces in an RGB picture (or uint8 array, height × width × 3), best score first; [] where none is.

        Raises `ImageError` for what is no such picture, and `ModelError` where the weights give no finite numbers.
        """
        width, height = _size(picture)
        found, sizes = [], level_sizes(width, height)
        for size in sizes:
            picture = to_input(picture, InputSpec(*size, Squash()))
            candidates = self._look_at(picture, coarsest=size == sizes[-1])
            found.append(candidates.scaled(width / size[0], height / size[1]))
        return to_faces(merge(_joined(found)), width, height)

    def _look_at(self, pixels: Pixels, *, coarsest: bool) -> Candidates:
        values = to_values(pixels)
        try:
            outputs = self._session.run(_OUTPUTS, {"input": values})
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise failing(self._path, "ONNX Runtime", error) from error
        if not all(np.isfinite(output).all() for output in outputs):
            raise ModelError(f"{self._path}: it gives numbers that are not finite; verify it, or copy it again")
        found = decode(outputs, values.shape[3])
        return found if coarsest else found[_sides(found.boxes).max(axis=1) <= _LARGEST_FACE]


_LOCK = Lock()


def shared_detector() -> Detector:
    """Give the one detector of this process, opened when first asked for; any thread may ask, and use it.

    Raises as `locate` and `Detector` do.
    """
    with _LOCK:  # or threads that ask at the same time would each open one
        return _shared()


@cache
def _shared() -> Detector:
    # Who decodes in many threads has a picture for every core.
    return Detector(locate(), Device("cpu", threads=1))


def largest_and_central(faces: Sequence[Face], width: int, height: int) -> Face:
    """Choose the face that a picture of `width` × `height` pixels is a portrait of.

    It has the largest area of its box less twice the squared distance between the centres of box and picture. Source:
    David Sandberg's facenet, align_dataset_mtcnn.py. Raises `ValueError` where there are no faces.
    """
    if not faces:
        raise ValueError("there are 0 faces to choose from; at least 1 is needed")

    def rank(face: Face) -> float:
        left, upper, right, lower = face.box
        distance = ((left + right - width) / 2) ** 2 + ((upper + lower - height) / 2) ** 2
        return (right - left) * (lower - upper) - 2 * distance

    return max(faces, key=rank)


def portrayed(picture: Image.Image) -> Face:
    """Give the face that an RGB picture is of: of several, the one that is largest and most central.

    Raises `ImageError` where there is none, and `UsageError` where the detector's weights are not here.
    """
    faces = shared_detector().detect(picture)
    if not faces:
        raise ImageError(NO_FACE)
    return largest_and_central(faces, *picture.size)


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Say at which sizes (width, height) a picture is looked at: within YuNet's reach, then at halves of that."""
    longest = max(width, height)
    first = min(max(longest, MIN_SIDE), MAX_SIDE)
    levels = [first / 2**n for n in range(_MOST_LEVELS)]
    return [
        (max(1, round(width * level / longest)), max(1, round(height * level / longest)))
        for level in levels
        if level >= _SMALLEST_LEVEL
    ]


def to_values(pixels: Pixels) -> Floats:
    """Give what YuNet takes of uint8 RGB pixels, height × width × 3: float32, 1 × 3 × height × width, BGR, 0 to 255.

    Right and below it is filled up with black to multiples of 32.
    """
    height, width = pixels.shape[:2]
    rows, columns = (-(-side // _STRIDES[-1]) * _STRIDES[-1] for side in (height, width))
    values = np.zeros((1, 3, rows, columns), np.float32)
    values[0, :, :height, :width] = pixels.transpose(2, 0, 1)[::-1]
    return values


def decode(outputs: Sequence[Floats], width: int, least: float = MIN_SCORE) -> Candidates:
    """Turn YuNet's outputs into places in pixels of its input, which has `width` pixels in a row.

    `outputs`: float32, in the order of `_OUTPUTS`: class scores (1 × N × 1) of strides 8, 16 and 32, scores of there
    being an object (1 × N × 1), boxes (1 × N × 4), landmarks (1 × N × 10), whose N cells go row by row. What scores
    below `least` is left out. As FaceDetectorYN of OpenCV 4.8 and later decodes them.
    """
    parts = []
    for number, stride in enumerate(_STRIDES):
        classes, objects, boxes, landmarks = (output[0] for output in outputs[number :: len(_STRIDES)])
        scores = np.sqrt(classes.clip(0, 1) * objects.clip(0, 1))[:, 0]
        cells = np.flatnonzero(scores >= least)
        column_row = np.stack(np.divmod(cells, width // stride)[::-1], axis=1).astype(np.float32)
        centres = (column_row + boxes[cells, :2]) * stride
        halves = np.exp(boxes[cells, 2:]) * (stride / 2)
        points = (column_row[:, None] + landmarks[cells].reshape(-1, 5, 2)) * stride
        around = np.concatenate([centres - halves, centres + halves], axis=1)
        weights = np.minimum(_sides(around).max(axis=1), _FULL_DETAIL) ** 2
        parts.append(Candidates(around, points, scores[cells], weights))
    return _joined(parts)


def merge(candidates: Candidates) -> Candidates:
    """Make one face of all candidates that are of one, best score first: non-maximum suppression by overlap.

    A face's place is the weighted mean of those that agree with the best: of one face, YuNet's cells and the levels
    err each for itself, and the mean's landmarks err half as much as those of the best.
    """
    order = np.argsort(-candidates.scores, kind="stable")
    found = [candidates[:0]]
    while len(order):
        overlaps = overlap(candidates.boxes[order[0]], candidates.boxes[order])
        agreeing = candidates[order[overlaps > _SAME_PLACE]]
        found.append(_mean(agreeing))
        order = order[overlaps <= MAX_OVERLAP]
    return _joined(found)


def overlap(box: Floats, boxes: Floats) -> Floats:
    """Give the intersection over union of a box (4: left, upper, right, lower) with N × 4 boxes: N, 0 to 1."""
    shared = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = shared.clip(0).prod(axis=1)
    return np.asarray(common / (_sides(box[None]).prod() + _sides(boxes).prod(axis=1) - common), np.float32)


def to_faces(candidates: Candidates, width: int, height: int) -> list[Face]:
    """Cut boxes at the border of a picture of `width` × `height` pixels; one that lies outside of it is left out."""
    boxes = candidates.boxes.clip(0, np.array([width, height] * 2, np.float32))
    inside = (_sides(boxes) > 0).all(axis=1)
    rows = zip(boxes[inside], candidates.scores[inside], candidates.landmarks[inside], strict=True)
    return [_face(box.tolist(), float(score), points.tolist()) for box, score, points in rows]


def _face(box: list[float], score: float, points: list[list[float]]) -> Face:
    left, upper, right, lower = box
    right_eye, left_eye, nose, right_mouth, left_mouth = ((x, y) for x, y in points)
    return Face((left, upper, right, lower), score, (right_eye, left_eye, nose, right_mouth, left_mouth))


def _mean(candidates: Candidates) -> Candidates:
    """Give one candidate with the score of the first, in the place that is the weighted mean of all."""
    weights = candidates.weights
    return Candidates(
        np.average(candidates.boxes, axis=0, weights=weights)[None],
        np.average(candidates.landmarks, axis=0, weights=weights)[None],
        candidates.scores[:1],
        weights.sum(keepdims=True),
    )


def _joined(parts: Iterable[Candidates]) -> Candidates:
    columns = zip(*(msgspec.structs.astuple(part) for part in parts), strict=True)
    return Candidates(*map(np.concatenate, columns))


def _sides(boxes: Floats) -> Floats:
    """Give the width and height of N × 4 boxes: N × 2."""
    return boxes[:, 2:] - boxes[:, :2]


def _size(picture: Image.Image | Pixels) -> tuple[int, int]:
    """Give the width and height; 1 × 1 of what is no picture, which the first resize then refuses."""
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2] if picture.ndim == 3 else (1, 1)
        return max(width, 1), max(height, 1)
    return max(picture.width, 1), max(picture.height, 1)
