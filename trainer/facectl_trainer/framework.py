"""TensorFlow: imported quietly, on the device asked for, repeatable."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facectl_runtime.devices import Device
from facectl_runtime.errors import DeviceError, MissingExtraError


def tensorflow() -> Any:
    """Import TensorFlow without its banners. Raises `MissingExtraError` where the train extra is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silent_stderr():
            import tensorflow as tf
            import tf_keras  # noqa: F401  # Keras 2: what the model optimization toolkit needs
    except ImportError as error:
        raise MissingExtraError(
            f"this needs TensorFlow ({error}): pip install 'facectl[train]', or use an exported file"
        ) from error
    tf.get_logger().setLevel("ERROR")
    return tf


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep the banners that TensorFlow's C++ prints before any setting reaches it off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def use_device(device: Device) -> str:
    """Make TensorFlow compute on `device`, and give the one used: `cpu` or `cuda:N`.

    `auto` takes the first GPU that TensorFlow sees, else the CPU. Raises `DeviceError` where a GPU is asked for and not
    there, and where this process has begun to compute on another device.
    """
    tf = tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if device.kind == "cuda" and device.index >= len(gpus):
        raise DeviceError(
            f"--device {device}: TensorFlow sees {len(gpus)} GPUs here; use --device cpu, or check the driver"
        )
    chosen = [] if device.kind == "cpu" else gpus[device.index : device.index + 1]
    try:
        tf.config.set_visible_devices(chosen, "GPU")
    except RuntimeError as error:
        raise DeviceError(
            f"--device {device}: TensorFlow computes on another device in this process already"
        ) from error
    return f"cuda:{device.index}" if chosen else "cpu"


def seed_everything(seed: int) -> None:
    """Make what follows repeatable: the same seed, data and machine give the same weights."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    tensorflow().config.experimental.enable_op_determinism()
