"""A threshold in a model's spec: all else stays as it is, and the checksums beside the model are right."""

import os
import shutil
import subprocess
import sys
from unittest.mock import Mock

import msgspec
import pytest

from drawn_run import draw_run
from facectl_runtime.engines import format_of
from facectl_runtime.errors import ModelError
from facectl_runtime.labelled import content_hash
from facectl_runtime.sums import SUMS, read_sums, written
from facectl_runtime.threshold.calibrated import Calibrated
from facectl_runtime.threshold.sign import sign

FOUND = Calibrated(
    value=0.75, score="max_probability", far_asked=0.1, far=0.09, far_interval=(0.05, 0.2), far_count=100,
    false_accepts=9, frr=0.02, frr_interval=(0.0, 0.1), frr_count=50, false_rejects=1, folds=3, groups=6,
)  # fmt: skip


def spec_of(model):
    return format_of(model).read_spec(model)


@pytest.fixture
def classifier(tmp_path, colours, golden):
    (tmp_path / "c").mkdir()
    return colours.save(tmp_path / "c" / "colours.onnx", colours.spec(golden=golden))


def test_the_graph_and_all_else_in_the_spec_stay(classifier, facectl):
    before, digest = spec_of(classifier), format_of(classifier).digest(classifier)
    classifier.chmod(0o600)
    sign(classifier, FOUND)
    assert classifier.stat().st_mode & 0o777 == 0o600
    after = spec_of(classifier)
    assert after == msgspec.structs.replace(before, threshold=FOUND.threshold(), graph_sha256=digest)
    assert format_of(classifier).digest(classifier) == digest
    assert facectl("verify", classifier).code == 0
    damaged = classifier.with_name("damaged.onnx")
    damaged.write_bytes(classifier.read_bytes().replace(b"MatMul", b"MatMxx"))
    assert facectl("verify", damaged).code == 5


def test_a_tflite_file(tmp_path, colours, golden, facectl):
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tiny_tflite import save

    file = save(tmp_path / "colours.tflite", colours.spec(golden=golden))
    sign(file, FOUND)
    assert spec_of(file) == colours.spec(
        golden=golden, threshold=FOUND.threshold(), graph_sha256=format_of(file).digest(file)
    )
    assert facectl("verify", file).code == 0
    assert "max_probability 0.750" in facectl("inspect", file).out


def test_a_run_folder(tmp_path, facectl):
    run = draw_run(tmp_path / "run", tmp_path / "data", ["cat", "dog"], each=1)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    sign(run, FOUND)
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"spec.json"}
    assert before.keys() == after.keys()
    assert spec_of(run).threshold == FOUND.threshold()
    assert "max_probability 0.750" in facectl("inspect", run).out


def test_checksums_beside_it_are_kept_right(classifier):
    sums, other = classifier.with_name(SUMS), classifier.with_name("other.onnx")
    other.write_text("other")
    sums.write_text(f"{content_hash(classifier)}  colours.onnx\n{'0' * 64}  other.onnx\n")
    sign(classifier, FOUND)
    assert sums.read_text() == f"{content_hash(classifier)}  colours.onnx\n{'0' * 64}  other.onnx\n"


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_of_a_link_the_file_that_it_leads_to_is_signed(classifier, tmp_path):
    sums = classifier.with_name(SUMS)
    sums.write_text(f"{content_hash(classifier)}  {classifier.name}\n")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.onnx"
    link.symlink_to(classifier)
    sign(link, FOUND)
    assert link.readlink() == classifier
    assert spec_of(classifier).threshold == FOUND.threshold()
    assert read_sums(sums) == {classifier.name: content_hash(classifier)}


def test_checksums_that_a_killed_process_left_wrong_are_mended(classifier, monkeypatch):
    sums = classifier.with_name(SUMS)
    sums.write_text(f"{content_hash(classifier)}  colours.onnx\n")
    with monkeypatch.context() as patch:
        patch.setattr("facectl_runtime.sums.renew", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sign(classifier, FOUND)
    assert read_sums(sums) != {"colours.onnx": content_hash(classifier)}
    sign(classifier, FOUND)
    assert read_sums(sums) == {"colours.onnx": content_hash(classifier)}


def test_a_damaged_model_is_not_signed(classifier):
    sign(classifier, FOUND)  # from now on its spec says what else is in it
    whole = classifier.read_bytes()
    sums = classifier.with_name(SUMS)
    sums.write_text(f"{content_hash(classifier)}  colours.onnx\n")
    classifier.write_bytes(whole.replace(b"MatMul", b"MatMxx"))
    before = classifier.read_bytes(), sums.read_bytes()
    with pytest.raises(ModelError, match="damaged, or edited since"):
        sign(classifier, FOUND)
    assert (classifier.read_bytes(), sums.read_bytes()) == before


SIGN = """
import sys
from pathlib import Path
from msgspec.json import decode
from msgspec.structs import replace
from facectl_runtime.threshold.calibrated import Calibrated
from facectl_runtime.threshold.sign import sign
model, found = Path(sys.argv[1]), decode(sys.argv[2], type=Calibrated)
for number in range(40):
    sign(model, replace(found, value=number / 40))
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_two_processes_that_sign_two_models_of_a_folder_leave_right_sums(classifier):
    models = [classifier, classifier.with_name("other.onnx")]
    shutil.copy(*models)
    classifier.with_name(SUMS).write_text(written({model.name: content_hash(model) for model in models}))
    found = msgspec.json.encode(FOUND).decode()
    processes = [subprocess.Popen([sys.executable, "-c", SIGN, model, found]) for model in models]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for model in models:
        assert spec_of(model).threshold.value == 39 / 40
    assert read_sums(classifier.with_name(SUMS)) == {model.name: content_hash(model) for model in models}
    assert sorted(path.name for path in classifier.parent.iterdir()) == [SUMS, "colours.onnx", "other.onnx"]


def test_a_model_that_became_another_meanwhile_is_left_alone(classifier, colours):
    measured = spec_of(classifier)
    colours.save(classifier, msgspec.structs.replace(measured, graph_sha256="0" * 64))
    before = classifier.read_bytes()
    with pytest.raises(ModelError, match="became another model while it was measured"):
        sign(classifier, FOUND, measured)
    assert classifier.read_bytes() == before
