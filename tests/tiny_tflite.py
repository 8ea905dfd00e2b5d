"""TFLite networks of two and three ops, made from the schema, that name the dominant colour."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from facectl_runtime.spec import SPEC_KEY, encode

WIDTH, HEIGHT = 12, 8
OP, TYPE, OPTIONS = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions


def tensor(name, type_, shape, buffer=0, step=None, zero=0):
    """Give a tensor; a quantized one has a step."""
    made = schema.TensorT()
    made.name, made.type, made.buffer = name, type_, buffer
    made.shape = [1 if side == -1 else side for side in shape]
    if -1 in shape:
        made.shapeSignature = list(shape)
    if step:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = np.float32([step]), np.int64([zero])
    return made


def step(number, inputs, outputs, kind=0, options=None):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = number, inputs, outputs
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def code(number):
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = number, min(number, 127), 1
    return made


def network(batch=1, width=WIDTH, height=HEIGHT, pixels=TYPE.UINT8, last=OP.SOFTMAX):
    """Mean of the pixels, then softmax of 0.02 × that: uint8 batch × height × width × 3 → float32 batch × 3."""
    mean, softmax = schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    mean.keepDims, softmax.beta = False, 0.02
    model, graph, axes = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    axes.data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
    graph.tensors = [
        tensor("pixels", pixels, (batch, height, width, 3)),
        tensor("float", TYPE.FLOAT32, (batch, height, width, 3)),
        tensor("axes", TYPE.INT32, (2,), 1),
        tensor("mean", TYPE.FLOAT32, (batch, 3)),
        tensor("probabilities", TYPE.FLOAT32, (batch, 3)),
    ]
    graph.inputs, graph.outputs = [0], [4]
    graph.operators = [
        step(0, [0], [1]),
        step(1, [1, 2], [3], OPTIONS.ReducerOptions, mean),
        step(2, [3], [4], OPTIONS.SoftmaxOptions, softmax),
    ]
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = [code(OP.CAST), code(OP.MEAN), code(last)]
    model.buffers, model.metadata = [schema.BufferT(), axes], []
    return model


def float_network(batch=1, last=OP.SOFTMAX):
    """Mean of the values, then softmax: float32 batch × height × width × 3 → float32 batch × 3."""
    tensors = [
        tensor("image", TYPE.FLOAT32, (batch, HEIGHT, WIDTH, 3)),
        tensor("axes", TYPE.INT32, (2,), 1),
        tensor("mean", TYPE.FLOAT32, (batch, 3)),
        tensor("answer", TYPE.FLOAT32, (batch, 3)),
    ]
    return _mean_then(tensors, last)


def quantized_network(number=TYPE.UINT8, step=1 / 128, zero=128, low=0):
    """Mean of the values, then softmax, all in 8 bits: 1 × height × width × 3 → 1 × 3."""
    tensors = [
        tensor("image", number, (1, HEIGHT, WIDTH, 3), step=step, zero=zero),
        tensor("axes", TYPE.INT32, (2,), 1),
        tensor("mean", number, (1, 3), step=step, zero=zero),
        tensor("answer", number, (1, 3), step=1 / 256, zero=low),
    ]
    return _mean_then(tensors, OP.SOFTMAX)


def _mean_then(tensors, last):
    mean, softmax = schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    mean.keepDims, softmax.beta = False, 1.0
    model, graph, axes = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    axes.data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
    graph.tensors, graph.inputs, graph.outputs = tensors, [0], [3]
    kind = (OPTIONS.SoftmaxOptions, softmax) if last == OP.SOFTMAX else ()
    graph.operators = [step(0, [0, 1], [2], OPTIONS.ReducerOptions, mean), step(1, [2], [3], *kind)]
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = [code(OP.MEAN), code(last)]
    model.operatorCodes[0].version = model.operatorCodes[1].version = 2
    model.buffers, model.metadata = [schema.BufferT(), axes], []
    return model


def save(path, spec, model=None):
    """Write a model whose spec is `spec`, or the text in its place, or none."""
    model = model or network()
    if spec is not None:
        text = spec if isinstance(spec, str) else encode(spec)
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        entry.name, entry.buffer = SPEC_KEY, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path
