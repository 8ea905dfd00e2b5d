"""A face turned, scaled and shifted so that its five landmarks fall where a model wants them.

Every step is written down in docs/preprocessing.md and held by the vectors in docs/vectors; change the three together.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.errors import ImageError
from facectl_runtime.faces.detect import portrayed
from facectl_runtime.image import Pixels, scaled
from facectl_runtime.spec import FaceAlign

Places = npt.NDArray[np.float64]


def align(
    image: Image.Image, width: int, height: int, resize: FaceAlign, landmarks: npt.ArrayLike | None = None
) -> Pixels:
    """Turn, scale and shift a face by the similarity that brings its landmarks nearest to the model's (Umeyama 1991).

    `image`: RGB; `landmarks`: five points (x, y) in its pixels, or None where the face that it is of is to be found.
    Gives uint8, height × width × 3. Raises `ImageError`, also where there is no face, and `UsageError` where the
    detector's weights are not here.
    """
    points = np.asarray(portrayed(image).landmarks if landmarks is None else landmarks, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ImageError(f"face landmarks are {points.tolist()}; five finite (x, y) are needed")
    found, wanted = (p[:, 0] + 1j * p[:, 1] for p in (points, np.asarray(resize.landmarks)))
    spread = found - found.mean()
    # In the plane, Umeyama's similarity is one complex factor (scale and turn) and one shift.
    power = (np.conj(spread) * (wanted - wanted.mean())).sum()
    if abs(power) < 1e-9:
        raise ImageError(f"face landmarks are {points.tolist()}; they lie in one place, and a face has an extent")
    factor = power / (np.abs(spread) ** 2).sum()
    # The filter first, so that the warp skips no pixel where the face is larger than wanted.
    size = tuple(max(1, int(side * min(abs(factor), 1) + 0.5)) for side in image.size)
    centres = (np.arange(width) + 0.5) + 1j * (np.arange(height) + 0.5)[:, None]
    origin = (centres - wanted.mean()) / factor + found.mean()
    return _sample(image, size, origin.real * (size[0] / image.width), origin.imag * (size[1] / image.height))


def _sample(image: Image.Image, size: tuple[int, ...], x: Places, y: Places) -> Pixels:
    """Interpolate an RGB picture that is scaled to `size` at points (x, y) of that, between its four nearest pixels.

    Outside the picture it is black. Only what lies about the points is scaled: in a large picture a face is little.
    """
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    if not inside.any():
        return np.zeros((*x.shape, 3), np.uint8)
    (left, right), (upper, lower) = (
        (max(0, int(part[inside].min()) - 1), min(side, int(part[inside].max()) + 2))
        for part, side in zip((x, y), size, strict=True)
    )
    pixels = np.asarray(_scaled_part(image, size, (left, upper, right, lower)))
    result = np.zeros((*x.shape, 3))
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = np.floor(x - 0.5) + across, np.floor(y - 0.5) + down
        weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
        column, row = (column - left).clip(0, right - left - 1), (row - upper).clip(0, lower - upper - 1)
        result += weight[..., None] * pixels[row.astype(np.intp), column.astype(np.intp)]
    return np.where(inside[..., None], np.floor(result + 0.5), 0).astype(np.uint8)


def _scaled_part(image: Image.Image, size: tuple[int, ...], part: tuple[int, int, int, int]) -> Image.Image:
    """Give the part (left, upper, right, lower) of what a picture is when it is scaled to `size`."""
    if size == image.size:
        return image.crop(part)
    across, down = image.width / size[0], image.height / size[1]
    box = (part[0] * across, part[1] * down, part[2] * across, part[3] * down)
    # The filter reaches one step beyond the box, in the picture.
    left, upper = max(0, int(box[0] - across) - 1), max(0, int(box[1] - down) - 1)
    right, lower = (
        min(side, int(end + step) + 2) for side, end, step in zip(image.size, box[2:], (across, down), strict=True)
    )
    near = image.crop((left, upper, right, lower))
    shifted = (box[0] - left, box[1] - upper, min(box[2] - left, near.width), min(box[3] - upper, near.height))
    return scaled(near, shifted, (part[2] - part[0], part[3] - part[1]))
