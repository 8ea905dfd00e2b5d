"""Export through the command line: files that answer as the trained model does, or no files at all."""

import io
import json
import shutil
import signal
import threading
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from facectl_export import golden
from facectl_export.calibration import stratified
from facectl_export.choice import cells
from facectl_export.formats import WRITERS
from facectl_export.order import Order, check
from facectl_runtime import spec as contract
from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of
from facectl_runtime.errors import MissingExtraError, NoEngineError, UsageError
from facectl_runtime.image import load
from facectl_runtime.labelled import Image, Split
from facectl_runtime.onnx_metadata import graph_digest
from facectl_trainer.run import Run, read_run
from helpers import slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PRECISIONS = ["fp32", "int8"]
LEFT = ["MODEL_CARD.md", "SHA256SUMS", "colours.int8.onnx", "colours.onnx", "report.html", "report.json"]


@pytest.fixture(scope="module")
def split(trained):
    return msgspec.json.decode((trained.folder / "split.json").read_bytes(), type=Split)


@pytest.fixture(scope="module")
def keras(trained):
    return read_run(trained.folder).model()


@pytest.fixture(scope="module")
def pixels(trained, split):
    """Load the test split as any program would hand it in."""
    spec = contract.InputSpec(224, 224, contract.Squash())
    return np.stack([load(trained.data / item.path, spec) for item in split.parts["test"]])


@pytest.fixture(params=PRECISIONS)
def file(exported, request):
    return getattr(exported, request.param)


def spec_of(path):
    (text,) = [entry.value for entry in onnx.load(path).metadata_props if entry.key == contract.SPEC_KEY]
    return contract.decode(text, str(path))


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


# The files


def test_both_files_come_out_and_nothing_else(exported):
    assert sorted(path.name for path in exported.folder.iterdir()) == LEFT
    assert [path.name for path in exported.folder.parent.iterdir()] == ["files"]


def test_the_report_compares_each_file_with_the_trained_model(exported, split):
    document = exported.ran.json()
    rows = document["files"]
    assert document["out"] == str(exported.folder)
    assert [(row["file"], row["format"], row["precision"], row["gate"]) for row in rows] == [
        ("colours.onnx", "onnx", "fp32", "passed"),
        ("colours.int8.onnx", "onnx", "int8", "passed"),
    ]
    for row, path in zip(rows, (exported.fp32, exported.int8), strict=True):
        assert row["size"] == path.stat().st_size
        assert row["comparison"]["n"] == len(split.parts["test"])
        assert row["comparison"]["agreement"] == 1
    assert 0 < rows[0]["comparison"]["largest"] < 1e-3
    assert rows[1]["size"] < 0.4 * rows[0]["size"]


def test_the_file_is_valid_onnx(file):
    onnx.checker.check_model(str(file), full_check=True)
    assert [entry.version for entry in onnx.load(file).opset_import if entry.domain == ""] == [18]


def test_pixels_go_in_and_probabilities_come_out_for_any_number_of_images(file, pixels):
    model = session(file)
    (taken,), (given,) = model.get_inputs(), model.get_outputs()
    assert (taken.type, taken.shape[1:]) == ("tensor(uint8)", [224, 224, 3])
    assert (given.type, given.shape[1:]) == ("tensor(float)", [3])
    together = model.run(None, {taken.name: pixels[:3]})[0]
    assert together.shape == (3, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    assert (together >= 0).all()
    alone = model.run(None, {taken.name: pixels[:1]})[0]
    np.testing.assert_allclose(alone, together[:1], atol=1e-4)


def test_an_engine_knows_whether_its_file_has_a_constant_batch(exported, tmp_path):
    def fix(graph):
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 3

    path = shutil.copy(exported.fp32, tmp_path / "three.onnx")
    edit(path, fix)
    spec = msgspec.structs.replace(spec_of(path), graph_sha256=None)  # which is of the graph before that
    batches = [format_of(one).engine(one, spec, Device("cpu")).batch for one in (exported.fp32, path)]
    assert batches == [None, 3]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_raw_pixels_are_answered_as_by_the_trained_model(exported, keras, pixels, precision, tolerance):
    model = session(getattr(exported, precision))
    name = model.get_inputs()[0].name
    extremes = np.stack([np.zeros_like(pixels[0]), np.full_like(pixels[0], 255)])
    for batch in (pixels, extremes) if precision == "fp32" else (pixels,):
        np.testing.assert_allclose(
            model.run(None, {name: batch})[0], keras.predict_on_batch(batch), rtol=0, atol=tolerance
        )


def test_int8_really_computes_in_integers(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(exported.int8, options, providers=["CPUExecutionProvider"])
    ops = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    in_float = sum(op in ("Conv", "FusedConv", "Gemm", "MatMul") for op in ops)
    assert ops.count("QLinearConv") >= 40
    assert in_float <= 5  # layers that are left in float on purpose are few
    assert "Softmax" in ops


def test_calibration_sees_training_images_alone(exported, split):
    train = {item.path for item in split.parts["train"]}
    assert set(exported.calibrated_on) == train
    assert len(exported.calibrated_on) == len(train)


def test_calibration_takes_as_many_of_each_class_and_all_along_it():
    images = [Image(f"{label}/{number}.png", label) for label, count in (("b", 9), ("a", 2)) for number in range(count)]
    chosen = [item.path for item in stratified(images, 6)]
    assert chosen == ["a/0.png", "a/1.png", "b/0.png", "b/2.png", "b/4.png", "b/6.png"]
    assert [item.label for item in stratified([Image(f"{n}/0.png", str(n)) for n in range(9)], 3)] == ["0", "3", "6"]
    assert stratified(images[::-1], 6) == stratified(images, 6)
    assert len(stratified(images, 100)) == 11


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_spec_says_everything_of_this_very_file(exported, trained, pixels, split, precision):
    path = getattr(exported, precision)
    spec, of_run = spec_of(path), read_run(trained.folder).spec
    changed = {
        "precision": precision,
        "gate": "passed",
        "golden": spec.golden,
        "metrics": spec.metrics,
        "graph_sha256": graph_digest(path),
    }
    assert spec == msgspec.structs.replace(of_run, **changed)
    model = session(path)
    answers = model.run(None, {model.get_inputs()[0].name: pixels})[0]
    right = [
        spec.labels[answer.argmax()] == item.label for answer, item in zip(answers, split.parts["test"], strict=True)
    ]
    assert spec.metrics.accuracy == pytest.approx(np.mean(right))
    assert spec.metrics.n == len(right)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("int8", 0.1)])
def test_the_golden_images_are_in_the_file(exported, precision, tolerance):
    path = getattr(exported, precision)
    golden = spec_of(path).golden
    assert golden.tolerance == tolerance
    assert len(golden.images) == 4
    assert sum(len(image.png) for image in golden.images) <= 200_000
    width, height = Pillow.open(io.BytesIO(golden.images[0].png)).size
    assert width > 224
    assert height > 224
    assert width != height
    model = session(path)
    for image in golden.images:
        pixels = load(image.png, contract.InputSpec(224, 224, contract.Squash()))
        answer = model.run(None, {model.get_inputs()[0].name: pixels[None]})[0][0]
        np.testing.assert_allclose(answer, image.expected, atol=2e-5)


def test_verify_passes_on_this_machine(exported, facectl):
    done = facectl("verify", exported.fp32, exported.int8, "--json")
    assert done.code == 0
    assert [row["passed"] for row in done.json()] == [True, True]


def test_verify_fails_where_a_file_answers_otherwise(exported, facectl, tmp_path):
    sabotaged = shutil.copy(exported.fp32, tmp_path / "other.onnx")
    scale_last_layer(sabotaged)
    assert facectl("verify", sabotaged).code == 5


def test_verify_knows_a_file_in_which_one_bit_changed(exported, facectl, tmp_path):
    damaged = bytearray(exported.int8.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged)
    done = facectl("verify", path)
    assert done.code == 5
    assert "not the one that was exported" in done.out


def test_predict_answers_alike_before_and_after_export(exported, trained, facectl):
    image = trained.data / "blue" / "02.png"
    rows = [
        facectl("predict", model, image, "--json", "--topk", 3, "--device", "cpu").json()["results"][0]
        for model in (trained.folder, exported.fp32)
    ]
    assert rows[0]["label"] == rows[1]["label"] == "blue"
    for one, other in zip(rows[0]["top"], rows[1]["top"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


# Sabotage: conversions that do not answer as the trained model does


def edit(path, change):
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)


def initializer(graph, name):
    (found,) = [one for one in graph.initializer if one.name == name]
    return found


def change_weights(node_types, index, which, change):
    """Give a function that changes the weights of the first (0) or last (-1) node of some types."""

    def sabotage(path):
        def apply(graph):
            node = [node for node in graph.node if node.op_type in node_types][index]
            tensor = initializer(graph, node.input[which])
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))

        edit(path, apply)

    return sabotage


swap_channels = change_weights(("Conv",), 0, 1, lambda w: np.ascontiguousarray(w[:, ::-1]))
scale_last_layer = change_weights(("MatMul", "Gemm"), -1, 1, lambda w: w * np.float32(0.7))
negate_last_layer = change_weights(("MatMul", "Gemm"), -1, 1, lambda w: -w)
no_numbers = change_weights(("MatMul", "Gemm"), -1, 1, lambda w: w * np.float32("nan"))
SABOTAGES = {
    "channels swapped": (swap_channels, "largest |Δp|"),
    "slightly less sure": (scale_last_layer, "largest |Δp|"),
    "answers turned round": (negate_last_layer, "agreement"),
    "no numbers": (no_numbers, "largest |Δp| nan"),
}


@pytest.fixture
def old(exported, tmp_path):
    """Make a folder with an export of another day."""
    folder = tmp_path / "out"
    shutil.copytree(exported.folder, folder)
    return folder


@pytest.fixture
def convert(exported, keras, monkeypatch):
    """Give a function that puts a conversion into the place of the real one: the good file, then changed.

    The trained model is not loaded again each time.
    """
    monkeypatch.setattr(Run, "model", lambda _: keras)
    monkeypatch.setattr("facectl_trainer.reports.page.chart", lambda drawn: drawn.alt)  # test_report.py draws

    def use(sabotage, precision="fp32"):
        def write(path):
            shutil.copy(exported.fp32, path)
            sabotage(path)

        writer = WRITERS["onnx"]
        if precision == "fp32":
            changed = replace(writer, write_base=lambda _, __, path, *___: write(path))
        else:
            quantizer = replace(writer.quantizer, write=lambda _, __, path, *___: write(path))
            changed = replace(writer, quantizer=quantizer)
        monkeypatch.setitem(WRITERS, "onnx", changed)

    return use


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_conversion_that_answers_otherwise_is_not_let_out(trained, facectl, convert, old, tree, tmp_path, name):
    sabotage, measure = SABOTAGES[name]
    convert(sabotage)
    before = tree(tmp_path)
    done = facectl("export", trained.folder, "--out", old, "--quiet")
    assert done.code == 5
    assert done.out == ""
    *table, last = done.err.splitlines()
    assert last.startswith("facectl: nothing was exported: colours.onnx: ")
    assert f"{old}.failed.html shows where. You can leave fp32 out" in last
    assert last.endswith("fp32 out, or let it out with --allow-degraded fp32") is (name != "no numbers")
    assert measure in last
    assert "is needed" in last or "is allowed" in last
    assert any(line.split()[:2] == ["colours.onnx", "failed"] for line in table)
    page = (tmp_path / "out.failed.html").read_text()
    assert "colours.onnx" in page
    assert tree(old) == {name.removeprefix("out/"): content for name, content in before.items()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.failed.html"]


def test_where_one_precision_falls_short_the_other_stays_too(trained, facectl, convert, old, tree):
    convert(lambda _: None)
    convert(negate_last_layer, "int8")
    before = tree(old)
    more = ("--quantize", "fp32,int8", "--keep-float", "none", "--quiet")
    done = facectl("export", trained.folder, "--out", old, *more)
    assert done.code == 5
    last = done.err.splitlines()[-1]
    assert "colours.int8.onnx: agreement" in last
    assert "colours.onnx:" not in last
    assert last.endswith(
        "You can leave int8 out, or try another --calibrate or layers for --keep-float, or let it out with "
        "--allow-degraded int8"
    )
    assert tree(old) == before


def test_a_good_conversion_replaces_its_own_file_alone(trained, facectl, convert, old, tree):
    convert(lambda _: None)
    before = tree(old)
    done = facectl("export", trained.folder, "--out", old)
    assert done.code == 0
    after = tree(old)
    assert sorted(after) == LEFT
    assert after["colours.int8.onnx"] == before["colours.int8.onnx"]
    report = json.loads(after["report.json"])
    assert [row["file"] for row in report["files"]] == ["colours.onnx", "colours.int8.onnx"]
    assert f"next: facectl predict {old / 'colours.onnx'}" in done.out
    assert facectl("verify", old / "colours.onnx").code == 0


@pytest.mark.parametrize("error", [MissingExtraError, NoEngineError])
def test_a_file_carried_over_that_does_not_run_here_keeps_its_time(trained, facectl, convert, old, monkeypatch, error):
    def without_engine(path):
        def fail(*_):
            raise error("not installed")

        return msgspec.structs.replace(format_of(path), engine=fail) if path.parent == old else format_of(path)

    convert(lambda _: None)
    monkeypatch.setattr("facectl_export.export.format_of", without_engine)
    before = json.loads((old / "report.json").read_text())["files"]
    assert facectl("export", trained.folder, "--out", old, "--quiet").code == 0
    after = json.loads((old / "report.json").read_text())["files"]
    assert after[1] == before[1]
    assert after[1]["latency"] is not None
    assert after[0]["latency"] != before[0]["latency"]


def test_a_file_made_now_that_does_not_open_stops_the_export(trained, facectl, convert, old, tree, monkeypatch):
    def fail(*_):
        raise MissingExtraError("not installed")

    convert(lambda _: None)
    monkeypatch.setattr(
        "facectl_export.export.format_of", lambda path: msgspec.structs.replace(format_of(path), engine=fail)
    )
    before = tree(old)
    done = facectl("export", trained.folder, "--out", old, "--quiet")
    assert done.code == 2
    assert tree(old) == before


def test_without_out_the_files_go_into_the_run(trained, facectl, convert, tmp_path):
    convert(lambda _: None)
    run = shutil.copytree(trained.folder, tmp_path / "runs" / "colours")
    assert facectl("export", run, "--quiet").code == 0
    assert sorted(path.name for path in (run / "export").iterdir()) == [
        name for name in LEFT if name != "colours.int8.onnx"
    ]


def test_a_model_of_people_carries_none_of_their_photographs(trained, facectl, convert, tmp_path):
    convert(lambda _: None)
    run = shutil.copytree(trained.folder, tmp_path / "colours")
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "people": True}))
    assert facectl("export", run, "--quiet").code == 0
    spec = spec_of(run / "export" / "colours.onnx")
    assert {image.png for image in spec.golden.images} <= {image.png for image in golden.patterns(spec.input)}


def wait_for(stream, words):
    for line in stream:
        if words in line:
            return
    pytest.fail(f"the process ended before it said {words!r}")


@pytest.mark.parametrize("blow", [signal.SIGINT, slow(signal.SIGKILL)])
def test_what_ends_it_leaves_the_old_export_whole(trained, start, old, tree, tmp_path, blow):
    before = tree(old)
    process = start("export", trained.folder, "--out", old, "--quantize", "fp32,int8")
    wait_for(process.stderr, "converting to onnx, fp32: 1")
    threading.Event().wait(0.5)  # into the calibration
    assert process.poll() is None
    process.send_signal(blow)
    out, err = process.communicate(timeout=60)
    assert tree(old) == before
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "facectl: interrupted"
        assert "Traceback" not in err
        assert out == ""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


# The photographs


@pytest.fixture
def moved(trained, tmp_path):
    """Copy the photographs, and make a run that looks for them where they no longer are."""
    data = shutil.copytree(trained.data, tmp_path / "moved")
    run = shutil.copytree(trained.folder, tmp_path / "colours")
    document = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**document, "root": str(tmp_path / "gone")}))
    return run, data


def test_photographs_that_were_moved_are_found_by_data(moved, facectl, convert, tmp_path):
    run, data = moved
    convert(lambda _: None)
    done = facectl("export", run, "--out", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert "give its new place with --data" in done.error()
    assert facectl("export", run, "--out", tmp_path / "out", "--data", data, "--quiet").code == 0
    assert (tmp_path / "out" / "colours.onnx").is_file()


def spoil(path):
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("change", [spoil, lambda path: path.unlink()], ids=["changed", "gone"])
@pytest.mark.parametrize("part", ["test", "train"])
def test_a_photograph_that_is_not_what_it_was_is_named(moved, split, facectl, convert, tmp_path, change, part):
    run, data = moved
    convert(lambda _: None)
    victim = split.parts[part][1].path
    change(data / victim)
    done = facectl("export", run, "--out", tmp_path / "out", "--data", data, "--quantize", "int8", "--quiet")
    assert done.code == 2
    n = len(split.parts[part])
    assert f"of the run's {part} images, 1 of {n} are gone or not what they were, {victim} first" in done.error()
    assert "put them back, or train again" in done.error()
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours", "moved"]


@pytest.mark.parametrize(("part", "precision"), [("test", "fp32"), ("val", "int8")])
def test_a_photograph_that_goes_while_files_are_made_is_named(
    moved, split, facectl, convert, tmp_path, part, precision
):
    run, data = moved
    victim = data / split.parts[part][0].path
    convert(lambda _: victim.unlink())
    done = facectl("export", run, "--out", tmp_path / "out", "--data", data, "--quantize", precision, "--quiet")
    assert done.code == 2
    assert f"{victim}: " in done.error()
    assert "it was readable in training" in done.error()
    assert not (tmp_path / "out").exists()


# What is let through, and what is no longer what it was


def test_a_degraded_file_is_let_out_on_request_and_says_so(trained, facectl, convert, old):
    convert(lambda _: None)
    convert(negate_last_layer, "int8")
    more = ("--quantize", "fp32,int8", "--keep-float", "none", "--allow-degraded", "int8", "--quiet")
    done = facectl("export", trained.folder, "--out", old, *more)
    assert done.code == 0
    assert "colours.int8.onnx is degraded: it does not answer as the trained model does" in done.err
    assert spec_of(old / "colours.int8.onnx").gate == "degraded"
    assert spec_of(old / "colours.onnx").gate == "passed"
    assert "degraded" in facectl("inspect", old / "colours.int8.onnx").out
    assert facectl("verify", old / "colours.int8.onnx").code == 0


def test_a_float_file_under_an_integer_s_name_is_refused(exported, trained, facectl, convert, tmp_path, monkeypatch):
    convert(lambda _: None)
    quantizer = replace(WRITERS["onnx"].quantizer, write=lambda _, __, path, *___: shutil.copy(exported.fp32, path))
    monkeypatch.setitem(WRITERS, "onnx", replace(WRITERS["onnx"], quantizer=quantizer))
    done = facectl("export", trained.folder, "--out", tmp_path / "out", "--quantize", "int8", "--quiet")
    assert done.code == 5
    assert "colours.int8.onnx: int8 by name only: 0 of" in done.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_file_that_a_spec_makes_answer_a_little_otherwise_is_refused(
    trained, facectl, convert, tmp_path, monkeypatch
):
    """By less than another machine may, and more than the same one does."""
    convert(lambda _: None)
    nudge = change_weights(("MatMul", "Gemm"), -1, 1, lambda w: w * np.float32(1.0005))

    def write_spec(path, spec):
        nudge(path)
        writer.write_spec(path, spec)

    writer = WRITERS["onnx"]
    monkeypatch.setitem(WRITERS, "onnx", replace(writer, write_spec=write_spec))
    done = facectl("export", trained.folder, "--out", tmp_path / "out", "--quiet")
    assert done.code == 4
    assert "colours.onnx: it does not repeat its own answers" in done.error()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["spec.json", "model.keras"])
def test_a_run_that_was_changed_by_hand_is_refused(trained, facectl, convert, tmp_path, keras, file):
    run = shutil.copytree(trained.folder, tmp_path / "colours")
    if file == "spec.json":
        document = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps({**document, "labels": document["labels"][::-1]}))
    else:
        convert(lambda _: None)
        last = keras.get_layer("probabilities")
        kernel, bias = last.get_weights()
        last.set_weights([-kernel, bias])
    try:
        done = facectl("export", run, "--out", tmp_path / "out", "--quiet")
    finally:
        if file == "model.keras":  # the model is every test's
            last.set_weights([kernel, bias])
    assert done.code == 4
    assert str(run) in done.error()
    assert not (tmp_path / "out").exists()


def test_a_run_without_test_images(trained, facectl, tmp_path):
    run = shutil.copytree(trained.folder, tmp_path / "colours")
    document = json.loads((run / "split.json").read_text())
    document["parts"]["test"] = []
    (run / "split.json").write_text(json.dumps(document))
    done = facectl("export", run, "--out", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert "its split has no test images" in done.error()


def test_a_run_of_a_later_version(trained, facectl, tmp_path):
    run = shutil.copytree(trained.folder, tmp_path / "colours")
    document = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps({**document, "spec_version": 2}))
    done = facectl("export", run, "--out", tmp_path / "out", "--quiet")
    assert done.code == 4
    assert "its spec has version 2 and this facectl reads 1" in done.error()


def test_a_folder_with_a_file_of_the_user_s_is_left_alone(trained, facectl, convert, old, tree):
    convert(lambda _: None)
    (old / "mine.txt").write_text("not facectl's")
    before = tree(old)
    done = facectl("export", trained.folder, "--out", old, "--quiet")
    assert done.code == 2
    assert "mine.txt: no part of an export" in done.error()
    assert tree(old) == before


def test_the_table_of_files_says_which_there_can_be(facectl):
    done = facectl("export", "--list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["precision", "onnx", "tflite", "coreml"]
    assert any(line.startswith("palette4") and "iOS 16" in line for line in lines)
    assert any(line.startswith("no onnx int8-weights: ") for line in lines)


# What cannot be asked for


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--quantize", "int4"], "'int4' is not known; did you mean 'int8'?; use fp32, fp16, int8"),
        (["--quantize", "fp32,,int8"], "'' is not known"),
        (["--format", "onx"], "'onx' is not known; did you mean 'onnx'?; use onnx, tflite, coreml or all"),
        (["--format", "coreml", "--quantize", "int8"], "there is no such file (coremltools sets the scales"),
        (["--format", "onnx", "--quantize", "fp32,int8-weights"], "--format onnx --quantize int8-weights: there is no"),
        (["--calibrate", "kl"], "'kl' is not known; use auto, minmax, percentile, entropy"),
        (["--batch", "0"], "--batch '0': use a number of images"),
        (["--batch", "two"], "--batch 'two'"),
        (["--opset", "21"], "--opset"),
        (["--ios", "15", "--format", "coreml", "--quantize", "palette4"], "palette4 needs iOS 16; raise --ios"),
        (["--allow-degraded", "int7"], "--allow-degraded 'int7': 'int7' is not known"),
        (["--quantise", "int8"], "--quantize"),
        (["--calibrate", "mimax"], "'mimax' is not known; did you mean 'minmax'?"),
        (["--epochs", "2"], "--epochs: nothing asked for is fine-tuned; leave it out, or ask for int8-qat, pruned"),
        (["--keep-float", "conv"], "--keep-float: nothing asked for is integer throughout; leave it out, or ask for"),
        (["--calibrate", "entropy"], "--calibrate: nothing asked for is calibrated"),
        (["--calibration-images", "9", "--quantize", "fp16"], "--calibration-images: nothing asked for is calibrated"),
        (["--opset", "13", "--format", "tflite"], "--opset: nothing asked for is ONNX; leave it out, or ask for --for"),
        (["--ios", "17"], "--ios: nothing asked for is Core ML"),
        (["--allow-degraded", "fp32,int8"], "--allow-degraded: nothing asked for is int8; leave it out, or ask for it"),
    ],
)
def test_an_option_that_makes_no_sense(trained, facectl, tmp_path, more, words):
    done = facectl("export", trained.folder, "--out", tmp_path / "out", *more)
    assert done.code == 2
    assert words in done.error()
    assert list(tmp_path.iterdir()) == []


def test_only_a_classifier_is_fine_tuned(trained, tmp_path):
    run = read_run(trained.folder)
    output = contract.OutputSpec("embedding", run.spec.output.size)
    changes = {"task": "embed", "labels": (), "output": output, "embedding_id": "colours/embedding"}
    embedder = replace(run, spec=msgspec.structs.replace(run.spec, metrics=None, threshold=None, **changes))
    order = Order(run.folder, tmp_path, cells("onnx", "int8-qat"))
    check(order, run)
    with pytest.raises(UsageError, match="int8-qat: only a classifier can be fine-tuned; take int8 or fp16"):
        check(order, embedder)


def test_a_layer_to_keep_that_is_not_there(trained, facectl, convert, tmp_path):
    convert(lambda _: None)
    more = ("--quantize", "int8", "--keep-float", "hed_conv", "--quiet")
    done = facectl("export", trained.folder, "--out", tmp_path / "out", *more)
    assert done.code == 2
    assert (
        "--keep-float hed_conv: no convolution or dense layer of efficientnet_lite0; did you mean 'head_conv'?"
        in done.error()
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_what_is_no_run_folder(facectl, tmp_path, kind):
    place = tmp_path / "run"
    if kind == "empty":
        place.mkdir()
    elif kind == "file":
        place.write_text("")
    done = facectl("export", place, "--out", tmp_path / "out")
    assert done.code == 4
    assert str(place) in done.error()
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file(trained, facectl, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = facectl("export", trained.folder, "--out", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert "a file; --out takes a folder" in done.error()
    assert (tmp_path / "out").read_text() == "mine"


def test_an_out_that_is_the_run(trained, facectl):
    done = facectl("export", trained.folder, "--out", trained.folder, "--quiet")
    assert done.code == 2
    assert f"the run itself; leave --out away to have its files in {trained.folder / 'export'}" in done.error()


def test_what_is_wrong_with_out_is_said_before_the_network_is_loaded(trained, facectl, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "model", lambda _: pytest.fail("the network was loaded"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    done = facectl("export", trained.folder, "--out", tmp_path / "out", "--quiet")
    assert done.code == 2
    assert "mine.txt: no part of an export" in done.error()


def test_a_place_that_cannot_be_made(trained, facectl, convert, tmp_path):
    convert(lambda _: None)
    (tmp_path / "file").write_text("")
    done = facectl("export", trained.folder, "--out", tmp_path / "file" / "out", "--quiet")
    assert done.code == 2
    assert "cannot be used (Not a directory); give another --out" in done.error()


def test_a_package_that_is_missing_is_named_with_its_extra(trained, facectl, tmp_path, monkeypatch):
    monkeypatch.setattr("facectl_export.formats.onnx.find_spec", lambda name: None if name == "tf2onnx" else object())
    done = facectl("export", trained.folder, "--out", tmp_path / "out")
    assert done.code == 2
    assert "needs tf2onnx; install it with: pip install 'facectl[export,cpu]'" in done.error()
