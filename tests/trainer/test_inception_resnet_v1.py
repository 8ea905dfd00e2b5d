"""InceptionResNetV1 answers as FaceNet's own graph, and tells people in LFW apart."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from facectl_trainer.backbones import backbone
from facectl_trainer.weights import find

tf_keras = pytest.importorskip("tf_keras")

DATA = Path(os.environ.get("FACECTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ENTRY = backbone("inception_resnet_v1")
PAIRS = 100  # of each kind
FACE = (62, 62, 188, 188)  # where deep-funneled LFW has it


@pytest.fixture(scope="module")
def facenet():
    found = find(ENTRY.weights, ENTRY.weights)
    if found is None:
        pytest.skip("no facenet_keras.h5; name its folder in FACECTL_WEIGHTS_DIR")
    return found.path


@pytest.fixture(scope="module")
def model(facenet):
    return ENTRY.build(160, "standardise", facenet)


def reference(path):
    """Make the file's own graph, with `x + scale * y` for each of its Lambda layers."""
    with h5py.File(path) as file:
        values = file["model_weights"]
        tensors = {}
        for entry in json.loads(file.attrs["model_config"])["config"]["layers"]:
            inputs = [tensors[node[0]] for node in (entry["inbound_nodes"] or [[]])[0]]
            if entry["class_name"] == "InputLayer":
                last = tensors[entry["name"]] = image = tf_keras.Input((160, 160, 3))
                continue
            if entry["class_name"] == "Lambda":
                last = inputs[0] + entry["config"]["arguments"]["scale"] * inputs[1]
            else:
                layer = getattr(tf_keras.layers, entry["class_name"]).from_config(entry["config"])
                last = layer(inputs if len(inputs) > 1 else inputs[0])
                group = values[entry["name"]]
                layer.set_weights([group[name][()] for name in group.attrs["weight_names"]])
            tensors[entry["name"]] = last
    return tf_keras.Model(image, last)


def standardised(pixels):
    pixels = pixels.astype(np.float64)
    mean, deviation = (f(pixels, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return ((pixels - mean) / np.maximum(deviation, pixels[0].size ** -0.5)).astype(np.float32)


def patterns():
    """Draw noise, noise with little contrast, a slope, and one colour."""
    random = np.random.default_rng(0)
    slope = np.broadcast_to(np.arange(160, dtype=np.uint8)[:, None, None], (160, 160, 3))
    return np.stack(
        [
            random.integers(0, 256, (160, 160, 3), np.uint8),
            random.integers(100, 103, (160, 160, 3), np.uint8),
            slope,
            np.full((160, 160, 3), 77, np.uint8),
        ]
    )


def test_embeddings_are_those_of_facenet_s_own_graph(facenet, model):
    expected = reference(facenet)(standardised(patterns())).numpy()
    met = model(patterns()).numpy()
    assert np.abs(met - expected).max() <= 1e-4 * np.abs(expected).max()


def test_pairs_of_one_person_are_nearer_than_pairs_of_two(model):
    pairs = lfw_pairs()
    names = sorted({name for one, other, _ in pairs for name in (one, other)})
    faces = np.stack([face(DATA / "lfw" / name) for name in names])
    embeddings = model.predict(faces, batch_size=32, verbose=0)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    at = dict(zip(names, embeddings, strict=True))
    similarity = np.array([at[one] @ at[other] for one, other, _ in pairs])
    same = np.array([pair[2] for pair in pairs])
    best = max(np.mean((similarity >= threshold) == same) for threshold in similarity)
    assert best >= 0.97  # measured on all 6,000: 0.99


def lfw_pairs():
    path = DATA / "lfw-protocol" / "pairs.txt"
    if not path.is_file():
        pytest.skip(f"no {path}; name the folder of the data in FACECTL_TEST_DATA")
    lines = [line.split() for line in path.read_text().splitlines()[1:]]
    same = [(image(name, one), image(name, other), True) for name, one, other in (x for x in lines if len(x) == 3)]
    different = [(image(x[0], x[1]), image(x[2], x[3]), False) for x in lines if len(x) == 4]
    return same[:: len(same) // PAIRS][:PAIRS] + different[:: len(different) // PAIRS][:PAIRS]


def image(name, number):
    return f"{name}/{name}_{int(number):04}.jpg"


def face(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB").crop(FACE).resize((160, 160), Image.Resampling.BILINEAR))


def test_standardisation_is_per_image():
    model = ENTRY.build(75, "standardise", None)
    probe = tf_keras.Model(model.input, model.get_layer("standardise").output)
    pixels = np.stack([pattern[:75, :75] for pattern in patterns()])
    np.testing.assert_allclose(probe(pixels), standardised(pixels), atol=1e-4)


def test_random_values_neither_explode_nor_vanish():
    tf_keras.utils.set_random_seed(0)
    model = ENTRY.build(75, "standardise", None)
    names = ["block35_1_add", "block35_5_add", "block17_1_add", "block17_10_add", "block8_1_add", "block8_6_add"]
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in names])
    spread = [float(np.std(answer)) for answer in probe(patterns()[:3, :75, :75], training=True)]
    assert min(spread) > 0.1
    assert max(spread) < 10


def test_layers_to_fine_tune_from_have_readable_names():
    names = {layer.name for layer in ENTRY.build(75, "standardise", None).layers}
    assert {"conv2d_1a_3x3", "block35_1_conv2d_1x1", "mixed_6a", "block17_10_add", "mixed_7a"} <= names
    assert {"block8_1_branch_0_conv2d_1x1", "block8_6_add", "dropout", "bottleneck", "bottleneck_bn"} <= names


def test_onnx_runtime_gives_the_same_answer(tmp_path):
    tf = pytest.importorskip("tensorflow")
    tf2onnx = pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from facectl_trainer.backbones.standardise import PerImageStandardisation

    pixels = tf_keras.Input((75, 75, 3), dtype="uint8")
    model = tf_keras.Model(pixels, PerImageStandardisation(dtype="float32")(pixels))
    graph = tf.function(lambda image: {"answer": model(image, training=False)})
    signature = [tf.TensorSpec((None, 75, 75, 3), tf.uint8, name="image")]
    tf2onnx.convert.from_function(graph, input_signature=signature, opset=18, output_path=str(tmp_path / "x.onnx"))
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    images = patterns()[:, :75, :75]
    (answer,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(answer, standardised(images), atol=1e-4)
