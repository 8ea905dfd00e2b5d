"""A run folder is a MODEL: the commands of runtime answer with the Keras model itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.image import load
from facectl_runtime.labelled import read_split
from facectl_runtime.reading import batch_of
from facectl_runtime.spec import encode
from facectl_trainer.run import read_run

pytest.importorskip("tf_keras")


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_evaluate_gives_the_accuracy_that_training_reported(trained, facectl):
    done = facectl("evaluate", trained.folder, "--json", "--quiet")
    assert done.code == 0
    claimed = json.loads((trained.folder / "metrics.json").read_text())["test"]
    met = done.json()
    assert met.pop("engine").startswith("tf_keras ")
    assert {key: met[key] for key in claimed} == claimed


def test_evaluate_says_how_many_of_another_split_s_images_the_run_has_learnt_from(trained, facectl, tmp_path):
    assert facectl("data", "split", trained.data, "--to", tmp_path / "split.json", "--seed", 99).code == 0
    own, other = (read_split(path) for path in (trained.folder / "split.json", tmp_path / "split.json"))
    tested = {image.path for image in own.parts["test"]}
    known = [image for image in other.parts["test"] if image.path not in tested]
    assert known
    words = f"{len(known)} of {len(other.parts['test'])} images are of its own train and val parts"
    done = facectl("evaluate", trained.folder, "--split", tmp_path / "split.json", "--device", "cpu", "--quiet")
    assert done.code == 0
    assert words in done.err
    assert facectl("evaluate", trained.folder, "--device", "cpu", "--quiet").err == ""


def test_predict_answers_with_the_trained_model(trained, facectl):
    image = trained.data / "green" / "03.png"
    done = facectl("predict", trained.folder, image, "--json", "--topk", 3, "--device", "cpu")
    assert done.code == 0
    document = done.json()
    assert document["engine"].startswith("tf_keras ")
    assert document["device"] == "cpu"
    run = read_run(trained.folder)
    answer = run.model().predict_on_batch(load(image, run.spec.input)[None])[0]
    (row,) = document["results"]
    said = {ranked["label"]: ranked["probability"] for ranked in row["top"]}
    assert said == pytest.approx(dict(zip(run.spec.labels, answer.tolist(), strict=True)), abs=2e-6)
    assert row["label"] == run.spec.labels[answer.argmax()] != "red"


def test_the_engine_takes_any_number_of_images(trained):
    spec = read_run(trained.folder).spec
    engine = format_of(trained.folder).open(trained.folder, spec, Device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    together = engine.infer(pixels)
    assert together.shape == (3, 3)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[1:2], engine.infer(pixels[1:2]), atol=1e-5)


def test_inspect_reads_it(trained, facectl):
    done = facectl("inspect", trained.folder)
    assert done.code == 0
    assert "either, green, red" in done.out


def test_a_damaged_spec_is_no_usable_model(copy, trained, facectl):
    (copy / "spec.json").write_text("{}")
    done = facectl("predict", copy, trained.data / "red" / "00.png")
    assert done.code == 4
    assert str(copy / "spec.json") in done.error()


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 4096]) + content[middle + 4096 :]


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda _: b"", lambda _: b"no model"], ids=["cut", "flip", "none", "text"]
)
def test_a_damaged_model_is_no_usable_model(copy, trained, facectl, damage):
    (copy / "model.keras").write_bytes(damage((copy / "model.keras").read_bytes()))
    done = facectl("predict", copy, trained.data / "red" / "00.png", "--quiet")
    assert done.code == 4
    assert str(copy / "model.keras") in done.error()
    assert "train again" in done.error()


def test_a_run_without_its_model_is_no_usable_model(copy, trained, facectl):
    (copy / "model.keras").unlink()
    done = facectl("predict", copy, trained.data / "red" / "00.png", "--quiet")
    assert done.code == 4
    assert "not a run folder" in done.error()


def test_verify_says_what_it_can_verify(trained, facectl):
    done = facectl("verify", trained.folder)
    assert done.code == 4
    assert "facectl export" in done.error()


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_nothing_of_a_model_file_is_run(trained, facectl, tmp_path, kind):
    """A Keras file can name any function; only the weights of ours are read."""
    tf_keras = pytest.importorskip("tf_keras")
    layers, mark = tf_keras.layers, tmp_path / "was-run"
    inputs = layers.Input((224, 224, 3), dtype="uint8")
    run_me = layers.Lambda(lambda x, mark=str(mark): (Path(mark).touch(), x)[1])
    evil = tf_keras.Model(
        inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(run_me(layers.Rescaling(1.0)(inputs))))
    )
    evil.save(tmp_path / f"evil.{kind}")
    mark.unlink()
    run = shutil.copytree(trained.folder, tmp_path / "run")
    shutil.copy(tmp_path / f"evil.{kind}", run / "model.keras")
    assert facectl("predict", run, next(trained.data.rglob("*.png"))).code == 4
    assert not mark.exists()


def test_a_spec_that_is_not_the_models_is_refused(trained, facectl, tmp_path):
    run = shutil.copytree(trained.folder, tmp_path / "run")
    spec = read_run(run).spec
    narrow = replace(spec, input=replace(spec.input, width=200))
    (run / "spec.json").write_text(encode(narrow))
    done = facectl("predict", run, next(trained.data.rglob("*.png")))
    assert done.code == 4
    assert "does not take the input" in done.error()


def test_tensorflow_takes_the_threads_that_are_asked_for(trained):
    program = (
        "import sys; from pathlib import Path; from facectl_runtime.devices import Device; "
        "from facectl_runtime.engines import format_of; path = Path(sys.argv[1]); reader = format_of(path); "
        "reader.open(path, reader.read_spec(path), Device('cpu', threads=3)); import tensorflow as tf; "
        "print(tf.config.threading.get_intra_op_parallelism_threads())"
    )
    ran = subprocess.run([sys.executable, "-c", program, trained.folder], capture_output=True, text=True, check=True)
    assert ran.stdout == "3\n"


def test_many_images_are_given_to_keras_several_at_once(trained):
    runs = format_of(trained.folder)
    engine = runs.open(trained.folder, runs.read_spec(trained.folder), Device("cpu"))
    assert batch_of(engine) == 8
