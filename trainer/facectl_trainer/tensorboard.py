"""TensorBoard: scalars, graph, pictures and embeddings of a training, no point twice after an interruption."""

import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from facectl_runtime.errors import UsageError, one_line, reason
from facectl_runtime.files import scratch_beside, swap_in
from facectl_runtime.image import Pixels
from facectl_trainer.framework import tensorflow

THUMBNAIL, MOST_THUMBNAILS = 64, 128 * 128
"""Side in pixels of the pictures of points, and how many go into one that browsers will draw: 8192 × 8192."""
_NOTHING: Mapping[str, int] = MappingProxyType({})
# Where the projector looks for what belongs to a run: a folder of its own, which one rename puts in place.
_PROJECTOR = Path("plugins", "org_tensorflow_tensorboard_projector")
_CONFIG, _TENSOR, _METADATA, _SPRITE = "projector_config.pbtxt", "embeddings.tsv", "metadata.tsv", "sprite.jpg"
_SHOWN = f'tensor_name: "test" tensor_path: "{_TENSOR}" metadata_path: "{_METADATA}"'
_PICTURED = f' sprite {{ image_path: "{_SPRITE}" single_image_dim: [{THUMBNAIL}, {THUMBNAIL}] }}'


class TensorBoard:
    """Writes what `tensorboard --logdir FOLDER` shows: a run `train` and a run `val`, drawn in one chart a measure."""

    def __init__(self, folder: Path, done: Mapping[str, int] = _NOTHING) -> None:
        """Begin, or go on after an interruption.

        `done`: the epochs finished of each stage. Of what the folder holds, their points stay; all other is
        dropped, since it will be written again. Event files are renamed into place whole, and one that a killed
        program left cut short keeps what can be read. Raises `UsageError` where the folder cannot be written.
        """
        tf = tensorflow()
        self._folder = folder
        self._writers: dict[str, Any] = {}
        shutil.rmtree(folder / "val" / _PROJECTOR, ignore_errors=True)
        with _plainly(folder):
            for part in ("train", "val"):
                (folder / part).mkdir(parents=True, exist_ok=True)
                for path in sorted((folder / part).glob("events.out.tfevents.*")):
                    _drop_unfinished(path, done)
                self._writers[part] = tf.summary.create_file_writer(str(folder / part))

    def scalars(self, stage: str, epoch: int, values: Mapping[str, float]) -> None:
        """Write an epoch's measures as `stage/name`: `val_loss` becomes `loss` of the run `val`. `epoch` from 1."""
        tf = tensorflow()
        with _plainly(self._folder):
            for name, value in values.items():
                with self._writers["val" if name.startswith("val_") else "train"].as_default(step=epoch):
                    tf.summary.scalar(f"{stage}/{name.removeprefix('val_')}", value)

    def graph(self, model: Any) -> None:
        """Write the graph of a Keras model. It is dropped, with all that is unfinished, when a training goes on."""
        tf = tensorflow()
        specs = [tf.TensorSpec(i.shape, i.dtype, name=i.name.split(":")[0]) for i in model.inputs]
        traced = tf.function(lambda *inputs: model(inputs if len(inputs) > 1 else inputs[0], training=False))
        with _plainly(self._folder), self._writers["train"].as_default():
            tf.summary.graph(traced.get_concrete_function(*specs).graph)

    def image(self, tag: str, image: bytes | npt.NDArray[np.uint8], step: int) -> None:
        """Write a picture, an encoded file's bytes or H × W × 3 uint8, to the run `val`."""
        tf = tensorflow()
        if isinstance(image, bytes):
            image = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
        with _plainly(self._folder), self._writers["val"].as_default(step=step):
            tf.summary.image(tag, image[None])

    def embeddings(
        self,
        embeddings: npt.NDArray[np.float32],
        columns: Mapping[str, Sequence[str]],
        thumbnails: Sequence[Pixels | None],
    ) -> None:
        """Show N × d embeddings as points in the projector, of the run `val`; those of an earlier call go.

        `columns`: two or more, name → N texts to name and colour the points by. `thumbnails`: N pictures, uint8 RGB
        with no side over `THUMBNAIL` pixels, `MOST_THUMBNAILS` at most, None for one that is not there.
        """
        target = self._folder / "val" / _PROJECTOR
        pictured = any(picture is not None for picture in thumbnails)
        with _plainly(self._folder), scratch_beside(target) as scratch:
            new = scratch / target.name
            new.mkdir()
            np.savetxt(new / _TENSOR, embeddings, fmt="%.7g", delimiter="\t")
            rows = [columns, *zip(*columns.values(), strict=True)]
            lines = ("\t".join(map(one_line, row)) for row in rows)
            (new / _METADATA).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
            if pictured:
                _sprite(thumbnails).save(new / _SPRITE, quality=85)
            (new / _CONFIG).write_text(f"embeddings {{ {_SHOWN}{_PICTURED if pictured else ''} }}\n", encoding="utf-8")
            swap_in(new, target, replace=True)

    def close(self) -> None:
        """Close the files. Every call has flushed what it wrote, so that a chart can be followed."""
        for writer in self._writers.values():
            writer.close()


def _sprite(thumbnails: Sequence[Pixels | None]) -> Image.Image:
    """Lay thumbnails out in a square, row after row; one that is not there is grey."""
    across = math.ceil(math.sqrt(len(thumbnails)))
    down = math.ceil(len(thumbnails) / across)
    sprite = Image.new("RGB", (across * THUMBNAIL, down * THUMBNAIL), "grey")
    for place, pixels in enumerate(thumbnails):
        if pixels is not None:
            row, column = divmod(place, across)
            spare = [(THUMBNAIL - side) // 2 for side in pixels.shape[1::-1]]
            sprite.paste(Image.fromarray(pixels), (column * THUMBNAIL + spare[0], row * THUMBNAIL + spare[1]))
    return sprite


@contextmanager
def _plainly(folder: Path) -> Iterator[None]:
    tf = tensorflow()
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        why = reason(error).rpartition("}} ")[2]  # TensorFlow names the node of its graph first
        raise UsageError(f"{folder}: TensorBoard's files cannot be written: {why}") from error


def _drop_unfinished(path: Path, done: Mapping[str, int]) -> None:
    """Rewrite an event file without the points beyond `done`; one with no point left goes."""
    tf = tensorflow()
    kept, points = [], 0
    for record in _records(path):
        event = tf.compat.v1.Event.FromString(record)
        finished = event.HasField("summary") and all(_finished(v.tag, event.step, done) for v in event.summary.value)
        points += finished
        if finished or event.HasField("file_version"):
            kept.append(record)
    if not points:
        path.unlink()
        return
    with scratch_beside(path) as scratch:
        with tf.io.TFRecordWriter(str(scratch / path.name)) as writer:
            for record in kept:
                writer.write(record)
        (scratch / path.name).replace(path)


def _finished(tag: str, step: int, done: Mapping[str, int]) -> bool:
    stage = tag.rpartition("/")[0]
    return stage in done and step <= done[stage]


def _records(path: Path) -> Iterator[bytes]:
    """Read an event file, as far as it is whole."""
    tf = tensorflow()
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError:
        return
