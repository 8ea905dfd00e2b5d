"""The messages that a Core ML model file is made of, as far as an ML Program needs them.

Numbers and types are those of Apple's Model.proto, FeatureTypes.proto and MIL.proto
(https://apple.github.io/coremltools/mlmodel/index.html). The messages stand in a pool of their own, so that
coremltools, which has them all, may be loaded into the same process.
"""

from functools import cache
from typing import Any

_SCALARS = {"double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12}
_OPTIONAL, _REPEATED, _MESSAGE = 1, 3, 11

# By message: each field's number and type; `*` before a type means repeated, `%` a map from text to it.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {
        "description": (2, "ModelDescription"),
        "mlProgram": (502, "Program"),
    },
    "ModelDescription": {
        "input": (1, "*FeatureDescription"),
        "functions": (20, "*FunctionDescription"),
        "defaultFunctionName": (21, "string"),
    },
    "FunctionDescription": {
        "name": (1, "string"),
        "input": (2, "*FeatureDescription"),
    },
    "FeatureDescription": {"name": (1, "string"), "type": (3, "FeatureType")},
    "FeatureType": {"imageType": (4, "ImageFeatureType")},
    "ImageFeatureType": {"width": (1, "int64"), "height": (2, "int64"), "colorSpace": (3, "int32")},
    "Program": {"functions": (2, "%Function")},
    "Function": {"inputs": (1, "*NamedValueType"), "opset": (2, "string"), "block_specializations": (3, "%Block")},
    "Block": {"outputs": (2, "*string"), "operations": (3, "*Operation")},
    "Operation": {
        "type": (1, "string"),
        "inputs": (2, "%Argument"),
        "outputs": (3, "*NamedValueType"),
        "blocks": (4, "*Block"),
        "attributes": (5, "%Value"),
    },
    "Argument": {"arguments": (1, "*Binding")},
    "Binding": {"name": (1, "string"), "value": (2, "Value")},
    "NamedValueType": {"name": (1, "string"), "type": (2, "ValueType")},
    "ValueType": {"tensorType": (1, "TensorType"), "listType": (2, "ListType")},
    "TensorType": {"dataType": (1, "int32"), "dimensions": (3, "*Dimension")},
    "ListType": {"type": (1, "ValueType")},
    "Dimension": {"constant": (1, "ConstantDimension"), "unknown": (2, "UnknownDimension")},
    "ConstantDimension": {"size": (1, "uint64")},
    "UnknownDimension": {"variadic": (1, "bool")},
    "Value": {"type": (2, "ValueType"), "immediateValue": (3, "ImmediateValue"), "blobFileValue": (5, "BlobFileValue")},
    "ImmediateValue": {"tensor": (1, "TensorValue"), "list": (3, "ListValue")},
    "ListValue": {"values": (1, "*Value")},
    "BlobFileValue": {"fileName": (1, "string"), "offset": (2, "uint64")},
    "TensorValue": {
        "floats": (1, "Floats"),
        "ints": (2, "Ints"),
        "bools": (3, "Bools"),
        "strings": (4, "Strings"),
        "longInts": (5, "LongInts"),
        "doubles": (6, "Doubles"),
        "bytes": (7, "Bytes"),
    },
    "Floats": {"values": (1, "*float")},
    "Ints": {"values": (1, "*int32")},
    "Bools": {"values": (1, "*bool")},
    "Strings": {"values": (1, "*string")},
    "LongInts": {"values": (1, "*int64")},
    "Doubles": {"values": (1, "*double")},
    "Bytes": {"values": (1, "bytes")},
}

TYPES: dict[int, str] = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
"""Types of elements, by their number in MIL.proto."""
COLOURS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
"""Of images, by their number in FeatureTypes.proto."""


@cache
def messages() -> dict[str, Any]:
    """Give the message classes by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="facectl/mlprogram.proto", package="facectl", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"facectl.{name}")) for name in _MESSAGES}


def _add(message: Any, name: str, number: int, kind: str) -> None:
    """Add a field to the description of a message; a map is a repeated message of a key and a value."""
    label = _REPEATED if kind[0] in "*%" else _OPTIONAL
    if kind[0] == "%":
        entry = message.nested_type.add(name=f"{''.join(part.capitalize() for part in name.split('_'))}Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, kind[1:])
        message.field.add(
            name=name, number=number, label=label, type=_MESSAGE, type_name=f".facectl.{message.name}.{entry.name}"
        )
        return
    kind = kind.lstrip("*")
    if kind in _SCALARS:
        message.field.add(name=name, number=number, label=label, type=_SCALARS[kind])
    else:
        message.field.add(name=name, number=number, label=label, type=_MESSAGE, type_name=f".facectl.{kind}")
