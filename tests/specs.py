"""A spec of each kind, and how a text of one is changed."""

import hashlib
from typing import Any

import msgspec
import pytest

from facectl_runtime.errors import ModelError
from facectl_runtime.spec import (
    Adapter,
    CenterCrop,
    FaceAlign,
    Golden,
    GoldenImage,
    InputSpec,
    Metrics,
    ModelSpec,
    OutputSpec,
    Provenance,
    Threshold,
    decode,
    encode,
)

SHA = "0123456789abcdef" * 4
PROVENANCE = Provenance("zoo", 7, SHA, "lite0", SHA, "Apache-2.0", {"numpy": "2.4"}, "2026-01-02T03:04:05Z")
CLASSIFIER = ModelSpec(
    name="zoo",
    task="classify",
    precision="int8",
    labels=("cat", "dog", "großer Bär"),
    input=InputSpec(224, 160, CenterCrop(0.875)),
    output=OutputSpec("probabilities", 3),
    provenance=PROVENANCE,
    threshold=Threshold(0.5, "max_probability", 0.01, 200, 0.02, 300),
    metrics=Metrics(0.9, 100, (0.8, 0.95)),
    golden=Golden((GoldenImage(b"\x89PNG", (0.1, 0.2, 0.7)),), 0.01),
)
EMBEDDER = ModelSpec(
    name="faces",
    task="embed",
    precision="fp32",
    labels=(),
    input=InputSpec(112, 112, FaceAlign(((1.0, 2.0),) * 5)),
    output=OutputSpec("embedding", 512),
    provenance=PROVENANCE,
    embedding_id="triplet/embedding",
    threshold=Threshold(-0.2, "cosine", 0.001, 6000, 0.02, 300),
)
FOREIGN = msgspec.structs.replace(
    CLASSIFIER,
    adapter=Adapter("nchw", "bgr", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "logits"),
    provenance=msgspec.structs.replace(PROVENANCE, data_fingerprint=None),
)


def plain(spec: ModelSpec = CLASSIFIER) -> dict[str, Any]:
    return msgspec.json.decode(encode(spec))


def at(tree: Any, path: str) -> tuple[Any, Any]:
    """Give the parent of the place that `path` names, and its key there."""
    *above, last = [int(step) if step.isdigit() else step for step in path.split(".")] if path else [None]
    for step in above:
        tree = tree[step]
    return tree, last


def changed(path: str, value: Any, spec: ModelSpec = CLASSIFIER) -> dict[str, Any]:
    tree = plain(spec)
    parent, key = at(tree, path)
    parent[key] = value
    return tree


def sealed(tree: Any) -> bytes:
    """Write a tree as JSON, with the digest that belongs to it where it has one."""
    if "spec_sha256" not in tree:
        return msgspec.json.encode(tree)
    blank = msgspec.json.encode({**tree, "spec_sha256": None})
    return msgspec.json.encode({**tree, "spec_sha256": hashlib.sha256(blank).hexdigest()})


def refused(tree: Any) -> str:
    with pytest.raises(ModelError) as caught:
        decode(sealed(tree), "zoo.onnx")
    message = str(caught.value)
    assert message.startswith("zoo.onnx: ")
    assert "\n" not in message
    return message


OBJECTS = ["", "input", "input.resize", "output", "provenance", "threshold", "metrics", "golden", "golden.images.0"]
OPTIONAL = {"gate", "embedding_id", "threshold", "metrics", "golden", "graph_sha256"}
REQUIRED = [
    *(key for key in plain() if key not in OPTIONAL | {"spec_version"}),
    *(f"{path}.{key}" for path in OBJECTS if path for key in at(plain(), f"{path}.x")[0] if key != "fraction"),
]
