"""Augmentation: training images moved, turned, sheared, scaled and mirrored by one affine map and one resample.

The random numbers come from numpy, outside the graph, so that training can seed them by epoch: one that is resumed sees
the images that an uninterrupted one would have.
"""

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from facectl_runtime.errors import UsageError
from facectl_trainer.framework import tensorflow

Images = npt.NDArray[np.uint8]
Transforms = npt.NDArray[np.float32]
Fill = Literal["nearest", "constant", "reflect"]


class AugmentPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Random changes of each training image, anew each epoch."""

    rotation: Annotated[float, Meta(ge=0, le=180)] = 0.0
    """Degrees; turned by uniform ± this."""
    shift: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    """Share of the side; moved by uniform ± this in each direction."""
    shear: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Slope: rows slide by uniform ± this times their height above the centre. 0.2 leans a vertical by 11 degrees."""
    zoom: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    """The picture's side is scaled by uniform 1 ± this, both directions alike."""
    flip: bool = False
    """Mirrored, left to right, half the time."""
    fill: Fill = "nearest"
    """What stands where the picture was not: its nearest pixel, black, or its mirror image."""


class CopiesPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fixed changes of each training image, one at a time, whose features are computed once and cached."""

    shift: Annotated[int, Meta(ge=0)] = 0
    """Pixels of the input; four copies, moved left, right, up and down. Less than half the side."""
    flip: bool = False
    """One copy, mirrored left to right."""


def identity(n: int) -> Transforms:
    """Give n × 8 transforms that change nothing."""
    return np.tile(_row(1, 0), (n, 1))


def transforms(plan: AugmentPlan, rng: np.random.Generator, n: int, side: int) -> Transforms:
    """Draw n × 8 affine maps for square images of `side` pixels.

    Row (a, b, c, d, e, f, 0, 0) says that the output's pixel (x, y) comes from (a x + b y + c, d x + e y + f) of the
    input: the convention of `tf.raw_ops.ImageProjectiveTransformV3`. About the centre, an image is mirrored, scaled,
    sheared and turned, then moved. Always draws 6 n numbers from `rng`, whatever the plan.
    """
    draws = rng.uniform(-1, 1, (6, n))
    angle = np.radians(plan.rotation) * draws[0]
    slope = plan.shear * draws[1]
    scale = 1 + plan.zoom * draws[2]
    mirror = np.where(plan.flip & (draws[3] < 0), -1.0, 1.0)
    moved = plan.shift * side * draws[4:]
    cos, sin = np.cos(angle), np.sin(angle)
    # The inverses, in the other order: back to upright, then unsheared, unscaled, mirrored.
    x = np.stack([cos + slope * sin, sin - slope * cos]) * mirror / scale
    y = np.stack([-sin, cos]) / scale
    return _about_centre(x, y, moved, side)


def copies(plan: CopiesPlan, side: int) -> list[tuple[str, Transforms]]:
    """Give each copy's name and transform (8 float32, as in `transforms`), for square images of `side` pixels.

    First the picture as it is, named ""; then "flip"; then "left30", "right30", "up30" and "down30" for a shift of 30.
    Apply with fill nearest. Raises `UsageError` where the shift would leave less than half the picture.
    """
    if 2 * plan.shift >= side:
        raise UsageError(
            f"copies shifted by {plan.shift} pixels: the input is {side} wide; shift by less than half of that"
        )
    found = [("", identity(1)[0])]
    if plan.flip:
        found.append(("flip", _row(-1, side - 1)))
    if by := plan.shift:
        for name, x, y in (("left", by, 0), ("right", -by, 0), ("up", 0, by), ("down", 0, -by)):
            found.append((f"{name}{by}", _row(1, x, y)))
    return found


def apply(images: Images, transform: Transforms, fill: Fill = "nearest") -> Images:
    """Resample images (N × H × W × 3 uint8) by one transform for all (8) or one for each (N × 8); uint8 again."""
    each = np.broadcast_to(transform, (len(images), 8))
    return np.asarray(_resample(images, each, fill))


def affine(fill: Fill) -> Any:
    """Build the Keras layer that `apply`s on the accelerator.

    Called on [images N × H × W × 3 uint8, transforms N × 8 float32]; gives uint8. Computes in float32 whatever the
    global policy is: half precision cannot hold a pixel's place. XLA has no kernel for it, so that a model with this
    layer must not be compiled with `jit_compile=True`.
    """
    return _layer()(fill)


@cache
def _layer() -> Any:
    tensorflow()
    import tf_keras

    @tf_keras.utils.register_keras_serializable("facectl")
    class Affine(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
        def __init__(self, fill: Fill, **keywords: Any) -> None:
            super().__init__(**{"dtype": "float32", "autocast": False, **keywords})
            self.fill = fill

        def call(self, inputs: Any) -> Any:
            images, each = inputs
            return _resample(images, each, self.fill)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "fill": self.fill}

    return Affine


def _resample(images: Any, each: Any, fill: Fill) -> Any:
    """Bilinear, rounded: the kernel would truncate uint8."""
    tf = tensorflow()
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.cast(each, tf.float32),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill.upper(),
    )
    return tf.cast(tf.round(tf.ensure_shape(moved, images.shape)), tf.uint8)


def _row(mirror: int, x: int, y: int = 0) -> Transforms:
    """Give the transform whose output pixel (0, 0) comes from (x, y); mirrored left to right where `mirror` is -1."""
    return np.array([mirror, 0, x, 0, 1, y, 0, 0], np.float32)


def _about_centre(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], side: int
) -> Transforms:
    """Complete linear maps, given as their rows (2 × n each), so that the centre comes from where it was before."""
    centre = (side - 1) / 2
    away = moved + centre
    from_x, from_y = centre - (x * away).sum(axis=0), centre - (y * away).sum(axis=0)
    zero = np.zeros_like(from_x)
    return np.stack([*x, from_x, *y, from_y, zero, zero], axis=1).astype(np.float32)
