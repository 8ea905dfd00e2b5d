"""TFLite models on LiteRT: a network that names the dominant colour."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.engines.base import in_batches
from facectl_runtime.engines.tflite import open_graph
from facectl_runtime.errors import DeviceError, MissingExtraError, ModelError
from facectl_runtime.spec import Golden, GoldenImage, InputSpec, OutputSpec, Squash
from facectl_runtime.tflite_metadata import graph_digest

pytest.importorskip("ai_edge_litert.schema_py_generated")
from tiny_tflite import HEIGHT, OP, TYPE, WIDTH, network, save

CPU = Device("cpu")


def save_signed(path, spec, **options):
    digest = graph_digest(save(path, msgspec.structs.replace(spec, graph_sha256="0" * 64), network(**options)))
    return save(path, msgspec.structs.replace(spec, graph_sha256=digest), network(**options))


def opened(path, device=CPU):
    reader = format_of(path)
    return reader.open(path, reader.read_spec(path), device)


def expected(pixels):
    logits = pixels.reshape(len(pixels), -1, 3).mean(axis=1) * 0.02
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path, colours):
    return save_signed(tmp_path / "colours.tflite", colours.spec())


# Answers


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, -1])
def test_any_number_of_images_is_answered_whatever_the_file_takes_at_once(tmp_path, colours, pixels, batch):
    engine = opened(save(tmp_path / "m.tflite", colours.spec(), network(batch)))
    for count in (1, 7, 2, 6):
        answers = engine.infer(pixels[:count])
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, expected(pixels[:count]), atol=1e-5)


def test_answers_stay_as_they_were_when_others_are_asked_for(file, pixels):
    engine = opened(file)
    first = engine.infer(pixels[:1])
    before = first.copy()
    engine.infer(pixels[1:2])
    np.testing.assert_array_equal(first, before)


def test_a_batch_that_fails_leaves_the_others_as_they_were(tmp_path, colours, pixels):
    path = save(tmp_path / "m.tflite", colours.spec(), network(-1))
    engine, graph = opened(path), open_graph(path, CPU)
    first = engine.infer(pixels[:2])
    np.testing.assert_array_equal(graph.run(pixels[:2]), first)
    with pytest.raises(ModelError, match=r"m\.tflite: LiteRT fails on it"):
        graph.run(pixels[:2, :, 0, 0])  # no room can be made for it
    np.testing.assert_array_equal(graph.run(pixels[:2]), first)


def test_the_engine_says_what_it_is(file):
    import ai_edge_litert

    for device in (CPU, Device("auto")):
        engine = opened(file, device)
        assert (engine.name, engine.device) == (f"litert {ai_edge_litert.__version__}", "cpu")


def test_several_threads_may_ask_one_engine(tmp_path, colours):
    engine = opened(save(tmp_path / "m.tflite", colours.spec(), network(-1)))
    chance = np.random.default_rng(1)
    batches = [chance.integers(0, 256, (1 + n % 5, HEIGHT, WIDTH, 3), dtype=np.uint8) for n in range(60)]
    with ThreadPoolExecutor(6) as threads:
        for batch, answers in zip(batches, threads.map(engine.infer, batches), strict=True):
            np.testing.assert_allclose(answers, expected(batch), atol=1e-5)


def test_the_last_batch_is_filled_up_with_its_last_image():
    given = []

    def run(pixels):
        given.append(pixels.copy())
        return pixels[:, 0, 0, :1].astype(np.float32)

    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    answers = in_batches(run, 3)(pixels)
    assert answers.ravel().tolist() == [0, 1, 2, 3, 4]
    assert [batch.ravel().tolist() for batch in given] == [[0, 1, 2], [3, 4, 4]]


# The command line


def test_predict_and_inspect_take_a_tflite_file(file, paint, facectl):
    ran = facectl("predict", file, paint("blue.png", "blue"), "--json")
    assert ran.code == 0
    (result,) = ran.json()["results"]
    assert result["label"] == "blue"
    assert facectl("inspect", file, "--json").json()["labels"] == ["red", "green", "blue"]


def test_evaluate_takes_a_tflite_file(file, classes, facectl):
    assert facectl("evaluate", file, "--data", classes, "--json").json()["accuracy"] == pytest.approx(5 / 6)


def test_verify_replays_its_golden_images(tmp_path, colours, facectl):
    picture = colours.png("red")
    answer = tuple(map(float, expected(np.full((1, 1, 1, 3), (255, 0, 0)))[0]))
    for name, expects, exit_code in (("good", answer, 0), ("bad", answer[::-1], 5)):
        spec = colours.spec(golden=Golden((GoldenImage(picture, expects),), 0.001))
        assert facectl("verify", save_signed(tmp_path / f"{name}.tflite", spec)).code == exit_code


def test_litert_says_nothing_of_its_own(file, paint, spawn):
    ran = spawn("predict", file, paint("red.png"), "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert "red" in ran.out


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_a_name_that_is_no_unicode_is_opened(file, tmp_path, pixels):
    path = tmp_path / os.fsdecode(b"m\xff.tflite")
    file.rename(path)
    np.testing.assert_allclose(opened(path).infer(pixels), expected(pixels), atol=1e-5)


def test_litert_is_not_imported_before_a_tflite_file_is_opened():
    code = "import facectl_runtime.engines, sys; print([m for m in sys.modules if 'litert' in m or 'flatbuffers' in m])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# Refusals


def test_a_gpu_is_not_there(file, paint, facectl):
    with pytest.raises(DeviceError, match=r"--device cuda:1: LiteRT .* use --device cpu"):
        opened(file, Device("cuda", 1))
    ran = facectl("predict", file, paint("red.png"), "--device", "cuda")
    assert ran.code == 6
    assert "LiteRT" in ran.error()


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"input": InputSpec(WIDTH, HEIGHT + 1, Squash())}, {}),
        ({"labels": ("red", "green"), "output": OutputSpec("probabilities", 2)}, {}),
        ({}, {"width": WIDTH + 1}),
        ({}, {"pixels": TYPE.FLOAT32}),
        ({}, {"pixels": TYPE.INT8, "batch": -1}),
    ],
    ids=["height", "classes", "width", "float", "int8"],
)
def test_a_graph_that_is_not_as_its_spec_says_is_refused(tmp_path, colours, changes, options):
    path = save(tmp_path / "m.tflite", colours.spec(**changes), network(**options))
    with pytest.raises(ModelError, match=r"m\.tflite: its graph takes .* its spec promises"):
        opened(path)


def test_a_file_without_a_spec_is_refused(tmp_path, facectl, paint):
    ran = facectl("predict", save(tmp_path / "m.tflite", None), paint("red.png"))
    assert ran.code == 4
    assert "carries no facectl.spec" in ran.error()


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"spec_version": 99}'])
def test_a_spec_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(ModelError, match=r"m\.tflite: its "):
        opened(save(tmp_path / "m.tflite", text))


def test_what_litert_cannot_run_is_refused(tmp_path, colours, facectl, paint):
    path = save(tmp_path / "m.tflite", colours.spec(), network(last=OP.CONV_2D))
    ran = facectl("predict", path, paint("red.png"))
    assert ran.code == 4
    assert "LiteRT cannot load it" in ran.error()


@pytest.mark.parametrize(
    ("module", "message"),
    [("ai_edge_litert", r"pip install 'facectl\[tflite\]'"), ("numpy.absent", "does not start")],
)
def test_a_missing_package_is_named(file, monkeypatch, tmp_path, module, message):
    """In the place of LiteRT: nothing, or a package that itself misses something."""
    broken = tmp_path / "ai_edge_litert"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "interpreter.py").write_text(f"raise ModuleNotFoundError('No module', name={module!r})")
    for name in [name for name in sys.modules if name.split(".")[0] == "ai_edge_litert"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=message):
        opened(file)


# Damage


def test_a_flipped_bit_anywhere_is_noticed_before_litert_sees_it(file, facectl):
    """LiteRT answers most damaged files, and on some it never returns."""
    whole, chance = file.read_bytes(), random.Random(0)
    for _ in range(600):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(
            ModelError, match=r"colours\.tflite: .*(export it again|export the model again|use a file|upgrade)"
        ):
            opened(file)
    assert facectl("verify", file).code == 4


def test_a_spec_that_was_edited_is_refused(tmp_path, proven, edit, refuse, facectl):
    path = save_signed(tmp_path / "edited.tflite", proven)
    assert facectl("verify", path).code == 0
    edit(path)
    assert "edited.tflite: its facectl spec was changed after it was written" in refuse(path)


def test_a_file_cut_short_is_refused(file):
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            opened(file)


def test_a_file_that_something_was_added_to_is_refused(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="damaged, or edited since"):
        opened(file)
