"""Every file there can be of one small network, through the command line."""

import hashlib
import json
import re

import msgspec
import pytest

from facectl_export.choice import cells
from facectl_export.formats import WRITERS, file_name
from facectl_export.mlprogram.ops import OPS
from facectl_runtime.bench import latency
from facectl_runtime.engines import format_of
from facectl_trainer.run import read_run

for package in ("tf2onnx", "coremltools", "ai_edge_quantizer", "tensorflow_model_optimization"):
    pytest.importorskip(package)

RECIPE = """
backbone = "convnet_bn"
weights = "none"
side = 48
resize = { kind = "squash" }
split = { test = 0.3, val = 0.2 }
stages = [{ train = "all", optimizer = "adam", rate = 5e-3, epochs = 25, patience = 25 }]
"""


@pytest.fixture(scope="module")
def run(photographs, facectl, tmp_path_factory):
    """Train a convnet with batch norms on the colours."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.toml").write_text(RECIPE)
    words = ["--data", photographs, "--out", folder / "tiny", "--device", "cpu", "--quiet", "--no-report"]
    done = facectl("train", folder / "small.toml", *words)
    assert done.code == 0, done.err
    return folder / "tiny"


def make_integers_slow(patch):
    """Have integer files take a second longer; give the batch of each engine that is timed, filled in as it is."""

    def slow(engines, spec):
        batches.update({name: engine.batch for name, engine in engines})
        return {name: slower(time) if ".int8" in name else time for name, time in measure(engines, spec).items()}

    def slower(time):
        return msgspec.structs.replace(time, median=time.median + 1000, p95=time.p95 + 1000)

    measure, batches = latency.measure, {}
    patch.setattr(latency, "measure", slow)
    return batches


@pytest.fixture(scope="module")
def exported(run, facectl):
    """Export all, where integers are slow; a file of a network so small may fall short, and is let out."""
    words = ["--format", "all", "--quantize", "all", "--epochs", 1, "--allow-degraded", "all", "--quiet", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        batches = make_integers_slow(patch)
        done = facectl("export", run, *words)
    assert done.code == 0, done.err
    return done.json() | {"batches": batches}


def test_every_file_is_there_with_its_row_and_its_own_spec(run, exported):
    spec = read_run(run).spec
    wanted = {file_name(spec, cell.precision, WRITERS[cell.format].suffix): cell for cell in cells("all", "all")}
    assert {row["file"] for row in exported["files"]} == set(wanted)
    for row in exported["files"]:
        path = run / "export" / row["file"]
        own = format_of(path).read_spec(path)
        assert (own.precision, own.gate, own.labels) == (row["precision"], row["gate"], spec.labels)
        assert own.graph_sha256 == format_of(path).digest(path)
        assert (row["format"] == "coreml") == row["engine"].startswith("reference, declared types (onnxruntime ")
        assert own.metrics.accuracy == row["comparison"]["accuracy"]
        assert row["size"] > row["zipped"] > 1000


def test_the_float_files_and_int8_answer_as_the_trained_model(exported):
    for row in exported["files"]:
        if row["precision"] in ("fp32", "fp16", "int8", "int8-weights"):
            assert row["gate"] == "passed", row
            assert row["comparison"]["agreement"] > 0.9


def test_the_shares_of_integers_are_those_of_the_precision(exported):
    for row in exported["files"]:
        share = row["integer"]
        if row["format"] != "coreml" and row["precision"] in ("int8", "int8-qat"):
            assert 2 * share["ops"] >= share["ops_of"]
        elif row["precision"] in ("fp32", "fp16", "pruned", "clustered"):
            assert share["ops"] == share["weights"] == 0
        elif row["precision"] == "int8-weights":
            assert 2 * share["weights"] >= share["weights_of"]


def test_each_integer_file_that_is_slower_than_float_says_so(exported):
    timed = {(row["format"], row["precision"]): row["slower_than_float"] for row in exported["files"] if row["latency"]}
    assert {key for key, slower in timed.items() if slower} == {
        ("onnx", "int8"), ("onnx", "int8-qat"), ("tflite", "int8"), ("tflite", "int8-qat"), ("tflite", "int8-weights")
    }  # fmt: skip
    assert ("tflite", "fp16") in timed


def test_an_integer_file_alone_is_timed_beside_the_float_file_of_its_own_network(run, facectl, tmp_path, monkeypatch):
    make_integers_slow(monkeypatch)
    words = ["--quantize", "int8-qat", "--epochs", 1, "--allow-degraded", "all", "--quiet", "--json"]
    done = facectl("export", run, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert [(row["file"], row["slower_than_float"]) for row in done.json()["files"]] == [("tiny.int8-qat.onnx", True)]


def test_onnx_takes_any_number_of_images_and_tflite_one(exported):
    assert {name.rpartition(".")[2]: batch for name, batch in exported["batches"].items()} == {
        "onnx": None,
        "tflite": 1,
    }


def test_the_tuned_say_what_it_cost(exported):
    tuned = {row["precision"]: row["tuning"] for row in exported["files"] if row["tuning"]}
    assert set(tuned) == {"int8-qat", "pruned", "clustered"}
    assert all(one["epochs"] == 1 and one["accuracy_before"] > 0.8 for one in tuned.values())


def test_the_folder_accounts_for_all_of_it(run, tree):
    there = tree(run / "export")
    lines = there.pop("SHA256SUMS").decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in there.items()}
    report = json.loads(there["report.json"])
    assert len(report["files"]) == len(cells("all", "all"))
    for row in report["files"]:
        assert row["file"] in there["report.html"].decode()
        assert row["file"] in there["MODEL_CARD.md"].decode()


def test_verify_replays_every_file(run, exported, facectl):
    done = facectl("verify", *(run / "export" / row["file"] for row in exported["files"]), "--json")
    assert done.code == 0, done.out
    assert all(row["passed"] and row["images"] == 4 for row in done.json())


@pytest.mark.usefixtures("exported")
def test_a_core_ml_file_answers_here_and_says_by_what(run, facectl, photographs):
    path, engines = run / "export" / "tiny.fp16.mlpackage", []
    for words in ((), ("--engine", "reference"), ("--declared-types",)):
        done = facectl("predict", path, photographs / "blue", "--json", "--quiet", *words)
        assert done.code == 0, done.err
        assert [one["label"] for one in done.json()["results"]].count("blue") >= 12
        engines.append(done.json()["engine"].partition(" (")[0])
    assert engines == ["reference", "reference", "reference, declared types"]


def test_an_export_to_core_ml_alone_is_judged_too(run, facectl, tmp_path):
    done = facectl("export", run, "--format", "coreml", "--out", tmp_path / "out")
    assert done.code == 0
    assert "passed" in done.out
    assert (
        "Core ML files were judged by their programs as ONNX Runtime runs them (reference, declared types" in done.err
    )
    assert "Core ML files were judged by their programs" in (tmp_path / "out" / "MODEL_CARD.md").read_text("utf-8")
    assert f"next: put {tmp_path / 'out' / 'tiny.mlpackage'} into an Xcode project" in done.out
    weights = next((tmp_path / "out" / "tiny.mlpackage").rglob("weights"))
    assert weights.stat().st_mode == weights.parent.stat().st_mode


def test_a_program_with_an_op_that_is_not_known_leaves_unverified(run, facectl, tmp_path, monkeypatch):
    monkeypatch.delitem(OPS, "softmax")
    done = facectl("export", run, "--format", "coreml", "--out", tmp_path / "out")
    assert done.code == 0
    assert "tiny.mlpackage is unverified" in done.err
    assert "compared with" not in done.out
    assert "none was compared with the trained model" in (tmp_path / "out" / "MODEL_CARD.md").read_text("utf-8")
    path = tmp_path / "out" / "tiny.mlpackage"
    assert "unverified" in facectl("inspect", path).out
    done = facectl("verify", path)
    assert done.code == 4
    assert re.search(r"ops that only Core ML itself runs: softmax '.*' \(op \d+ of \d+\)", done.error())
    assert "it was not run; no damage was found in it" in done.error()


def test_a_tflite_file_answers_pictures(run, exported, facectl, photographs):
    for row in exported["files"]:
        if row["format"] == "tflite":
            done = facectl("predict", run / "export" / row["file"], photographs / "blue", "--json", "--quiet")
            assert done.code == 0, done.err
            labels = [one["label"] for one in done.json()["results"]]
            assert labels.count("blue") >= 12, (row["file"], labels)
            assert done.json()["engine"].startswith("litert ")
