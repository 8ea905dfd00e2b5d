"""From a Keras model to a Core ML package: an ML Program in 16- or 32-bit floats, and its weights made smaller."""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from facectl_export.formats.quiet import quiet
from facectl_export.gate import IntegerShare
from facectl_runtime.coreml_metadata import graph_digest, model_file
from facectl_runtime.errors import MissingExtraError, UsageError
from facectl_runtime.files import scratch_beside
from facectl_runtime.spec import SPEC_KEY, ModelSpec, encode

IMAGE, EMBEDDING = "image", "embedding"
TARGETS = {15: "iOS15", 16: "iOS16", 17: "iOS17", 18: "iOS18"}
"""By the least iOS that runs a file, coremltools' name for it, and for the macOS and watchOS of its year."""

_COMPRESSED = 7  # the specification version of iOS 16, the first with compressed weights
_SPARSE_PAYS = 0.1  # the share of zeros above which a bit for each weight costs less than the zeros did, with a margin
_KEPT = {4: 0.5, 6: 0.1, 8: 0.0}  # by bits of a palette, the share of the weights that stays at 8 bits
_LAYERS = ("conv", "linear", "matmul")
_WEIGHTS = ("weight", "x", "y")  # what their inputs of weights are called
_NUMBERED = re.compile(r"(.+)_\d+((?:_to_fp16)?)")
_NARROW = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale", "constexpr_lut_to_dense")


def write_float(model: Any, spec: ModelSpec, path: Path, half: bool, ios: int) -> None:
    """Convert a Keras model (uint8 1 × height × width × 3 → float32 1 × size) to a program that takes an RGB image.

    A classifier answers `classLabel` and `classLabel_probs`, an embedder one array called `embedding`. `half` computes
    in 16-bit floats, save for what those cannot hold. Raises `UsageError` for an `ios` that is not in `TARGETS`.
    """
    if ios not in TARGETS:
        raise UsageError(f"--ios {ios}: not known; use {', '.join(map(str, TARGETS))}")
    with _quiet():
        import coremltools as ct

        classifies = spec.task == "classify"
        shape = (1, spec.input.height, spec.input.width, 3)
        program = ct.convert(
            [_traced(model, shape)],
            source="tensorflow",
            inputs=[ct.ImageType(name=IMAGE, shape=shape, color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(dtype=np.float32)],
            classifier_config=ct.ClassifierConfig(list(spec.labels)) if classifies else None,
            convert_to="mlprogram",
            compute_precision=_halved(ct, model) if half else ct.precision.FLOAT32,
            minimum_deployment_target=getattr(ct.target, TARGETS[ios]),
        )
        program.save(str(path))
        message = _message(model_file(path))
        if not classifies:
            ct.utils.rename_feature(message, message.description.output[0].name, EMBEDDING)
    _renumber(message)
    _put(message, path)


def write_int8_weights(half: Path, path: Path) -> None:
    """Store the weights of a program in 8 bits, one scale for each channel. Raises `UsageError` before iOS 16."""
    _compress(half, path, _in_8_bits)


def write_palette(half: Path, path: Path, bits: int) -> None:
    """Store the weights of a program as 2 ** `bits` values a layer (k-means) and an index for each weight.

    `bits`: 4, 6 or 8. Depthwise convolutions, whose channels differ most, and the smallest layers, where rounding costs
    most and saves least, are stored as by `write_int8_weights`: at 4 bits the layers of up to half of the weights, at
    6 bits a tenth. Raises `UsageError` before iOS 16.
    """
    kept = _kept(_message(model_file(half)), _KEPT[bits])

    def change(optimize: Any, program: Any) -> Any:
        recipe = optimize.OpPalettizerConfig(mode="kmeans", nbits=bits)
        others = dict.fromkeys(kept)
        config = optimize.OptimizationConfig(global_config=recipe, op_name_configs=others)
        return _in_8_bits(optimize, optimize.palettize_weights(program, config))

    _compress(half, path, change)


def write_sparse(half: Path, path: Path) -> None:
    """Store only the weights of a pruned program that are not zero, where that is smaller; none changes.

    Raises `UsageError` before iOS 16.
    """

    def change(optimize: Any, program: Any) -> Any:
        recipe = optimize.OpThresholdPrunerConfig(threshold=0.0, minimum_sparsity_percentile=_SPARSE_PAYS)
        return optimize.prune_weights(program, optimize.OptimizationConfig(global_config=recipe))

    _compress(half, path, change)


def write_spec(path: Path, spec: ModelSpec) -> None:
    """Put `spec` into a package's metadata, in the place of one that is there, with the digest of its graph.

    What Xcode shows (description, author, licence, version) says the same in words. Weights are not touched.
    """
    message = _message(model_file(path))
    _put(message, path)
    metadata = message.description.metadata
    metadata.shortDescription = _description(spec)
    metadata.author = "facectl"
    metadata.versionString = spec.provenance.created
    metadata.license = _licence(spec)
    metadata.userDefined[SPEC_KEY] = encode(replace(spec, graph_sha256=graph_digest(path)))
    _put(message, path)


def weights_share(path: Path) -> IntegerShare:
    """Count the weights of convolutions and matrix products, and those stored in 8 bits or less; no op is integer."""
    layers = _layers(_message(model_file(path)))
    stored = {op.outputs[0].name: op for _, op in layers if op is not None}.values()  # two layers may share one
    narrow = sum(_size(op) for op in stored if op.type in _NARROW)
    return IntegerShare(ops=0, ops_of=len(layers), weights=narrow, weights_of=sum(map(_size, stored)))


def require_packages() -> None:
    """Raise `MissingExtraError` where a package that exporting needs is not installed: to convert, or to judge."""
    if find_spec("coremltools") is None:
        raise MissingExtraError(
            "exporting to Core ML needs coremltools; install it with: pip install 'facectl[export]' (Linux or macOS)"
        )
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("exporting needs onnxruntime; install it with: pip install 'facectl[export,cpu]'")


def _traced(model: Any, shape: tuple[int, ...]) -> Any:
    """Give the network as one TensorFlow graph that takes float32, 0 to 255.

    Core ML hands an image over as floats, and a program cannot cast those to uint8, which the Keras model itself would.
    """
    import tensorflow as tf
    import tf_keras

    taking_floats = tf_keras.models.clone_model(model, tf_keras.Input(shape[1:], name=IMAGE))
    taking_floats.set_weights(model.get_weights())
    given = tf.TensorSpec(shape, tf.float32, name=IMAGE)
    traced = tf.function(lambda image: taking_floats(image, training=False), input_signature=[given])
    return traced.get_concrete_function()


def _halved(ct: Any, model: Any) -> Any:
    """Give coremltools' rule for which ops compute in 16 bits: those between the first layer and the last.

    Softmax and L2 norm stay exact. The sum over an image's pixels, which standardisation takes, would exceed the
    largest 16-bit float; a linear scaling does not, and stays with the network, on the neural engine.
    """
    import tf_keras

    scales = isinstance(model.layers[1], tf_keras.layers.Rescaling)

    def chosen(op: Any) -> bool:
        return _reaches_layer(op, _users) and (scales or _reaches_layer(op, _makers))

    return ct.transform.FP16ComputePrecision(op_selector=chosen)


def _reaches_layer(op: Any, neighbours: Callable[[Any], list[Any]]) -> bool:
    """Say whether an op is a convolution or a matrix product, or one can be reached from it."""
    ahead, seen = [op], {id(op)}
    while ahead:
        current = ahead.pop()
        if current.op_type in _LAYERS:
            return True
        fresh = [other for other in neighbours(current) if id(other) not in seen]
        seen.update(map(id, fresh))
        ahead += fresh
    return False


def _users(op: Any) -> list[Any]:
    return [user for output in op.outputs for user in output.child_ops]


def _makers(op: Any) -> list[Any]:
    given = [value for each in op.inputs.values() for value in (each if isinstance(each, list | tuple) else [each])]
    return [value.op for value in given if value.op is not None]


def _in_8_bits(optimize: Any, program: Any) -> Any:
    recipe = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity="per_channel")
    return optimize.linear_quantize_weights(program, optimize.OptimizationConfig(global_config=recipe))


def _kept(message: Any, share: float) -> list[str]:
    """Name the depthwise convolutions, and the smallest layers that hold no more than `share` of all weights."""
    layers = sorted((_size(weight), _name(op)[0], weight) for op, weight in _layers(message) if weight is not None)
    room = share * sum(size for size, _, _ in layers)
    names = []
    for size, name, weight in layers:
        room -= size
        if room >= 0 or _shape(weight)[1:2] == [1]:
            names.append(name)
    return names


def _compress(half: Path, path: Path, change: Callable[[Any, Any], Any]) -> None:
    """Write what `change` (of coremltools' optimize module and the program in `half`) gives."""
    with _quiet():
        import coremltools as ct
        import coremltools.optimize.coreml as optimize

        program = ct.models.MLModel(str(half), skip_model_load=True)
        version = program.get_spec().specificationVersion
        if version < _COMPRESSED:
            raise UsageError(
                f"{half.name}: it is made for iOS 15, and compressed weights need 16; use --ios 16 or more"
            )
        change(optimize, program).save(str(path))
        message = _message(model_file(path))
    _renumber(message)
    _put(message, path)


def _message(file: Path) -> Any:
    with _quiet():
        from coremltools.proto import Model_pb2
    return Model_pb2.Model.FromString(file.read_bytes())


def _put(message: Any, path: Path) -> None:
    """Write a package's model, whole, and the same bytes each time: of itself, protobuf shuffles its maps."""
    with scratch_beside(path) as scratch:
        new = scratch / "model"
        new.write_bytes(message.SerializeToString(deterministic=True))
        new.replace(model_file(path))
    for folder in (inside for inside in path.rglob("*") if inside.is_dir()):
        folder.chmod(path.stat().st_mode & 0o777)  # coremltools lets nobody else into that of the weights


def _description(spec: ModelSpec) -> str:
    """Say what a model does and how well, in a line."""
    parts = [f"{spec.name} ({spec.precision})"]
    parts.append(f"one of {len(spec.labels)} classes" if spec.labels else f"an embedding of {spec.output.size} values")
    if spec.metrics:
        parts.append(f"right on {spec.metrics.accuracy:.1%} of {spec.metrics.n} test images")
    if spec.gate:
        parts.append(f"agreement with the trained model: {spec.gate}")
    return "; ".join(parts)


def _licence(spec: ModelSpec) -> str:
    licence = spec.provenance.weights_licence
    start = f"Pretrained weights: {licence}." if licence else "Trained from scratch."
    return f"{start} The photographs it was trained on have licences of their own."


def _layers(message: Any) -> list[tuple[Any, Any]]:
    """Give every convolution and matrix product of a program with the op that its weights come from, or None."""
    operations = _block(message).operations
    made = {output.name: op for op in operations for output in op.outputs}
    layers = []
    for op in operations:
        if op.type in _LAYERS:
            names = [argument.name for key in _WEIGHTS for argument in op.inputs[key].arguments]
            stored = [made[name] for name in names if name in made and made[name].type.startswith("const")]
            layers.append((op, stored[0] if stored else None))
    return layers


def _block(message: Any) -> Any:
    (block,) = message.mlProgram.functions["main"].block_specializations.values()
    return block


def _name(op: Any) -> Any:
    """Give the list of one text that holds an op's name."""
    return op.attributes["name"].immediateValue.tensor.strings.values


def _renumber(message: Any) -> None:
    """Count values and ops anew, as they stand, so that two exports of a run are alike.

    coremltools numbers them in an order that changes from one conversion to the next.
    """
    block = _block(message)
    values = _numbering(output.name for op in block.operations for output in op.outputs)
    names = _numbering(name for op in block.operations for name in _name(op))
    for op in block.operations:
        _name(op)[:] = [names[name] for name in _name(op)]
        for output in op.outputs:
            output.name = values[output.name]
        for argument in (argument for given in op.inputs.values() for argument in given.arguments):
            if argument.name in values:
                argument.name = values[argument.name]
    block.outputs[:] = [values.get(name, name) for name in block.outputs]


def _numbering(names: Iterable[str]) -> dict[str, str]:
    """Give each name the one it is to have: those that end in a number are counted, from 0 in the order given."""
    counts: dict[tuple[str, ...], int] = {}
    new = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        new[name] = name
        if found:
            number = counts[found.groups()] = counts.get(found.groups(), -1) + 1
            new[name] = f"{found[1]}_{number}{found[2]}"
    return new


def _shape(op: Any) -> list[int]:
    return [dimension.constant.size for dimension in op.outputs[0].type.tensorType.dimensions]


def _size(op: Any) -> int:
    return math.prod(_shape(op))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence coremltools: what it lacks off macOS, versions that it was not tried with, and its progress bars."""
    bar = importlib.import_module("tqdm").tqdm
    start = bar.__init__
    bar.__init__ = partialmethod(start, disable=True)
    try:
        with quiet():
            yield
    finally:
        bar.__init__ = start
