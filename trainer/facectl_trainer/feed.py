"""What a stage of training is fed with: cached vectors for the tail of a network, or pixels for all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from facectl_runtime.labelled import Part
from facectl_trainer.augment import AugmentPlan, affine, transforms
from facectl_trainer.calibrate import Truth
from facectl_trainer.model import Halves, halve

Indices = npt.NDArray[np.intp]
Arrays = list[npt.NDArray[Any]]


class Feed(Protocol):
    """Images in three parts, as a network takes them."""

    @property
    def truth(self) -> Mapping[Part, Truth]:
        """Class indices, one an example; copies are examples of their own."""

    @property
    def trained(self) -> Any:
        """The Keras model that is trained, on `examples`."""

    @property
    def judged(self) -> Any:
        """The same layers without augmentation, on `inputs`."""

    def examples(self, chosen: Indices, random: np.random.Generator) -> Arrays:
        """Give a batch of the train part, changed anew where the recipe says so."""

    def inputs(self, part: Part, chosen: slice) -> Arrays:
        """Give images of a part as they are."""


@dataclass(frozen=True)
class Vectors:
    """What a frozen trunk makes of each image, for the tail."""

    halves: Halves
    rows: Mapping[Part, tuple[npt.NDArray[np.float32], Indices]]
    """Vectors, M × size, and which of them are the part's examples."""
    truth: Mapping[Part, Truth]

    @property
    def trained(self) -> Any:
        """The tail."""
        return self.halves.tail

    @property
    def judged(self) -> Any:
        """The tail."""
        return self.halves.tail

    def examples(self, chosen: Indices, random: np.random.Generator) -> Arrays:  # noqa: ARG002  # nothing is random
        """Give the tensors between trunk and tail."""
        return self._tensors("train", chosen)

    def inputs(self, part: Part, chosen: slice) -> Arrays:
        """Give the tensors between trunk and tail."""
        return self._tensors(part, chosen)

    def _tensors(self, part: Part, chosen: Indices | slice) -> Arrays:
        vectors, examples = self.rows[part]
        return list(self.halves.parted(vectors[examples[chosen]]))


@dataclass(frozen=True)
class Photographs:
    """Pixels, for the whole network."""

    judged: Any
    """uint8 N × H × W × 3 → probabilities."""
    trained: Any
    """What `trained_on_pixels` makes of it."""
    pixels: Mapping[Part, Sequence[npt.NDArray[np.uint8]]]
    truth: Mapping[Part, Truth]
    augment: AugmentPlan | None

    def examples(self, chosen: Indices, random: np.random.Generator) -> Arrays:
        """Give pixels and, with augmentation, the transform of each."""
        batch = np.stack([self.pixels["train"][index] for index in chosen])
        if self.augment is None:
            return [batch]
        return [batch, transforms(self.augment, random, len(batch), batch.shape[1])]

    def inputs(self, part: Part, chosen: slice) -> Arrays:
        """Give pixels."""
        return [np.stack(self.pixels[part][chosen])]


def trained_on_pixels(model: Any, first: int, plan: AugmentPlan | None) -> Any:
    """Make the network that a stage trains on pixels, from its layer of index `first` on.

    With a plan it takes [pixels, transforms N × 8]. The trunk below `first` answers as it will when it is used: its
    dropout, if it has any, rests.
    """
    import tf_keras

    if not first and plan is None:
        return model
    image = tf_keras.layers.Input(model.input.shape[1:], dtype="uint8")
    change = tf_keras.layers.Input((8,), dtype="float32")
    x = affine(plan.fill)([image, change]) if plan else image
    if first:
        halves = halve(model, first)
        answer = halves.tail(halves.trunk(x, training=False))
    else:
        answer = model(x)
    return tf_keras.Model([image, change] if plan else image, answer)
