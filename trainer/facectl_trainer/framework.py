"""TensorFlow: imported quietly, on the device asked for, repeatable."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from facectl_runtime.devices import Device
from facectl_runtime.errors import DeviceError, FacectlError, MissingExtraError
from facectl_runtime.quiet import silent_stderr


def tensorflow() -> Any:
    """Import TensorFlow without its banners. Raises `MissingExtraError` where the train extra is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with silent_stderr():  # banners that C++ prints before any setting reaches it
            import tensorflow as tf
            import tf_keras  # noqa: F401  # Keras 2: what the model optimization toolkit needs
    except ImportError as error:
        raise MissingExtraError(
            f"this needs TensorFlow ({error}): pip install 'facectl[train]', or use an exported file"
        ) from error
    tf.get_logger().setLevel("ERROR")
    return tf


def use_device(device: Device) -> str:
    """Make TensorFlow compute on `device`, and give the one used: `cpu` or `cuda:N`.

    `auto` takes the first GPU that TensorFlow sees, else the CPU. Raises `DeviceError` where a GPU is asked for and not
    there, and where this process has begun to compute on another device or number of threads.
    """
    tf = tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if device.kind == "cuda" and device.index >= len(gpus):
        raise DeviceError(
            f"--device {device}: TensorFlow sees {len(gpus)} GPUs here; use --device cpu, or check the driver"
        )
    if device.threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(device.threads)
        except RuntimeError as error:
            raise DeviceError(
                f"--threads {device.threads}: TensorFlow computes on another number in this process already"
            ) from error
    chosen = [] if device.kind == "cpu" else gpus[device.index : device.index + 1]
    try:
        tf.config.set_visible_devices(chosen, "GPU")
    except RuntimeError as error:
        raise DeviceError(
            f"--device {device}: TensorFlow computes on another device in this process already"
        ) from error
    return f"cuda:{device.index}" if chosen else "cpu"


@dataclass(frozen=True)
class Compute:
    """What trains."""

    used: str
    """`cpu`, or the GPUs: `cuda:0`, `cuda:0, cuda:1`."""
    strategy: Any
    """A `tf.distribute.Strategy`: variables are made in its scope."""
    half: bool
    """Whether whole networks are trained in float16 with float32 variables: where the GPU has units for it."""


def use_for_training(device: Device) -> Compute:
    """Make TensorFlow train on `device`; `auto` takes every GPU there is. Raises `DeviceError` as `use_device`."""
    tf = tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if device.kind != "auto" or len(gpus) < 2:
        used = use_device(device)
        strategy = tf.distribute.get_strategy()
        gpus = [] if used == "cpu" else gpus[device.index : device.index + 1]
    else:
        used = ", ".join(f"cuda:{index}" for index in range(len(gpus)))
        strategy = tf.distribute.MirroredStrategy()
    return Compute(used, strategy, bool(gpus) and all(_has_half_units(gpu) for gpu in gpus))


def _has_half_units(gpu: Any) -> bool:
    """Say whether a GPU has tensor cores, without which float16 gains nothing."""
    capability = tensorflow().config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return bool(capability >= (7, 0))


def seed_everything(seed: int, *, exactly: bool = True) -> None:
    """Make what follows repeatable: the same seed, data and machine give the same weights.

    On a GPU only nearly, so not `exactly`: there the gradients of frozen batch norm and of depthwise convolutions have
    no deterministic kernels, and TensorFlow would refuse them.
    """
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    if exactly:
        tensorflow().config.experimental.enable_op_determinism()


@contextmanager
def plain_errors(used: str) -> Iterator[None]:
    """Raise `FacectlError`, one line, where the device has no memory left."""
    tf = tensorflow()
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise FacectlError(f"{used}: no memory left; lower the recipe's batch or side, or use --device cpu") from error


def forget_graphs() -> None:
    """Let go of the networks built so far, before the next of several trainings."""
    import tf_keras

    tf_keras.backend.clear_session()
