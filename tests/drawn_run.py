"""A run folder made by hand, with drawn photographs and a tiny network, for the tests of what reads one."""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image as Picture

from facectl_runtime.evaluate import Answered, evaluation
from facectl_runtime.labelled import PARTS, Image, Split, content_hash
from facectl_runtime.spec import InputSpec, ModelSpec, OutputSpec, Provenance, Squash, encode
from facectl_trainer.recipe import load_recipe

SIDE = 32
HISTORY = ["stage", "epoch", "rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]


def tiny_model(classes, side=SIDE, flatten=False):
    """Build a flat network of two convolutions: uint8 N × side × side × 3 → N × classes."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    image = layers.Input((side, side, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    x = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="lower")(x)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="upper")(x)
    x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(image, layers.Dense(classes, activation="softmax", name="probabilities")(x))


def draw_run(folder, data, labels, *, each=2, sure=0.9, wrong=(), seed=0, name=None, folders=None):
    """Write a run folder: `each` images of a class in every part, answered with probability `sure`.

    `wrong` numbers the test images that are taken for the class after the true one; `folders` names the class folders
    where the labels cannot.
    """
    folder.mkdir(parents=True)
    places = folders or labels
    parts = {part: [] for part in PARTS}
    for number, label in enumerate(labels):
        for place, part in enumerate(PARTS):
            for count in range(each):
                path = f"{places[number]}/{part}{count}.png"
                _draw(data / path, number, seed=1000 * number + 10 * place + count)
                parts[part].append(Image(path, label))
    hashes = {image.path: content_hash(data / image.path) for part in PARTS for image in parts[part]}
    truth = np.array([labels.index(image.label) for image in parts["test"]])
    probabilities = np.full((len(truth), len(labels)), (1 - sure) / (len(labels) - 1), np.float32)
    answers = np.where(np.isin(np.arange(len(truth)), wrong), (truth + 1) % len(labels), truth)
    probabilities[np.arange(len(truth)), answers] = sure
    test = evaluation(Answered(parts["test"], truth, probabilities, []), labels)
    (folder / "spec.json").write_text(encode(_spec(name or folder.name, labels, seed)))
    (folder / "recipe.json").write_bytes(msgspec.json.encode(load_recipe("zoo")[1]))
    (folder / "split.json").write_bytes(msgspec.json.encode(Split(str(data), parts, hashes)))
    metrics = {
        "test": msgspec.to_builtins(test),
        "calibration": {"temperature": 0.8, "val_loss_before": 0.5, "val_loss_after": 0.4, "n": 9},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "model.keras").write_bytes(b"not read by a report")
    rows = [[image.path, image.label, *row] for image, row in zip(parts["test"], probabilities, strict=True)]
    _write(folder / "predictions.csv", [["path", "label", *labels], *rows])
    stages = ["head"] * 4 + ["conv5"] * 3
    losses = [2.0, 1.0, 0.5, 0.7, 0.6, 0.3, 0.4]
    epochs = [[stage, 1 + k, 1e-3, loss / 2, 0.9, loss, 0.8 + k / 100, 1.5]
              for k, (stage, loss) in enumerate(zip(stages, losses, strict=True))]  # fmt: skip
    _write(folder / "history.csv", [HISTORY, *epochs])
    return folder


def history_of(folder):
    """Read what a training kept of each epoch, but for how long it took."""
    with (folder / "history.csv").open() as file:
        return [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)]


def _spec(name, labels, seed):
    source = Provenance("zoo", seed, "0" * 64, "efficientnet_lite0", None, None, {}, "2026-01-02T03:04:05Z")
    return ModelSpec(name=name, task="classify", precision="fp32", labels=tuple(labels),
                     input=InputSpec(SIDE, SIDE, Squash()), output=OutputSpec("probabilities", len(labels)),
                     provenance=source)  # fmt: skip


def _draw(path: Path, number, seed):
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(number).integers(40, 215, 3)
    Picture.fromarray(np.uint8(np.clip(random.normal(colour, 20, (40, 48, 3)), 0, 255))).save(path)


def _write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
