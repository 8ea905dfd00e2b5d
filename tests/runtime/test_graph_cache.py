"""Graphs kept between runs: the same answers, at once, and nothing lost or said where they cannot be kept."""

import os
import resource
import shutil
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facectl_runtime.devices import Device
from facectl_runtime.engines import format_of, graph_cache
from facectl_runtime.engines import onnx as engine
from facectl_runtime.errors import ModelError
from facectl_runtime.onnx_metadata import graph_digest

CPU = Device("cpu")
SIDE, CHANNELS = 16, 8


@pytest.fixture(autouse=True)
def graphs(tmp_path, monkeypatch):
    """Give facectl a folder of its own, and give the folder of the graphs in it."""
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FACECTL_GRAPH_CACHE", raising=False)
    return tmp_path / "home/graphs"


def kept(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def network(quantized=False, seed=0):
    """uint8 N × 16 × 16 × 3 → float32 N × 4: two convolutions with ReLU and a residual sum, of floats or as QDQ."""
    draw = np.random.default_rng(seed)
    nodes, constants = [], {}

    def constant(name, values):
        constants[name] = numpy_helper.from_array(values, name)
        return name

    def quantize(name, low):
        """Let a tensor pass through 8 bits."""
        if not quantized:
            return name
        parts = [constant(f"{name}_step", np.float32(0.05)), constant(f"{name}_zero", np.uint8(low))]
        nodes.append(helper.make_node("QuantizeLinear", [name, *parts], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parts], [f"{name}_dq"]))
        return f"{name}_dq"

    def weights(name, inputs, outputs):
        values = draw.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32)
        if not quantized:
            return constant(name, values)
        steps = np.abs(values).max(axis=(1, 2, 3)) / 127
        numbers = np.rint(values / steps[:, None, None, None]).astype(np.int8)
        parts = [constant(f"{name}_q", numbers), constant(f"{name}_step", steps.astype(np.float32)),
                 constant(f"{name}_zero", np.zeros(outputs, np.int8))]  # fmt: skip
        nodes.append(helper.make_node("DequantizeLinear", parts, [name], axis=0))
        return name

    nodes.append(helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Div", ["floats", constant("scale", np.float32(64))], ["scaled"]))
    nodes.append(helper.make_node("Transpose", ["scaled"], ["x0"], perm=[0, 3, 1, 2]))
    value = quantize("x0", 0)
    for layer, inputs in enumerate((3, CHANNELS), start=1):
        taken = [value, weights(f"w{layer}", inputs, CHANNELS)]
        nodes.append(helper.make_node("Conv", taken, [f"c{layer}"], kernel_shape=[3, 3], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        value = quantize(f"r{layer}", 0)
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["row"]))
    head = constant("head", draw.normal(0, 1, (CHANNELS, 4)).astype(np.float32))
    nodes.append(helper.make_node("MatMul", ["row", head], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 4])],
        list(constants.values()),
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def written(path, model):
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def answers(path, count=5):
    pixels = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return engine.open_graph(path, CPU).run(pixels)


def ops(path):
    """Name the operations in a kept graph."""
    return {node.op_type for node in onnx.load(path).graph.node}


# The same answers


@pytest.mark.parametrize("quantized", [False, True], ids=["fp32", "int8"])
def test_answers_are_the_same_bit_by_bit(tmp_path, graphs, monkeypatch, quantized):
    path = written(tmp_path / "model.onnx", network(quantized))
    monkeypatch.setenv("FACECTL_GRAPH_CACHE", "0")
    plain = answers(path)
    assert kept(graphs) == []
    monkeypatch.delenv("FACECTL_GRAPH_CACHE")
    first = answers(path)
    (file,) = kept(graphs)
    assert "Relu" not in ops(file)  # the graph is the optimized one
    assert not quantized or "QLinearConv" in ops(file)
    assert first.tobytes() == plain.tobytes() == answers(path).tobytes()
    assert kept(graphs) == [file]


def test_the_second_time_the_kept_graph_runs(tmp_path, graphs):
    """Shown by another graph in its place, which no one but this test could put there."""
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    other = written(tmp_path / "other.onnx", network(seed=1))
    different = answers(other)
    mine, others = sorted(kept(graphs), key=lambda file: file.stat().st_mtime_ns)
    shutil.copyfile(others, mine)
    assert (answers(path) == different).all()
    assert not (different == expected).all()


def test_inputs_and_outputs_stay_as_they_are_named(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    first, second = (engine.open_graph(path, CPU) for _ in range(2))
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    assert first.inputs[0].shape == (None, SIDE, SIDE, 3)
    assert len(kept(graphs)) == 1


def test_a_constant_batch_stays_constant(colours, tmp_path, graphs):
    path = colours.save(tmp_path / "model.onnx", colours.spec(), colours.graph(batch=4))
    pixels = np.full((6, 8, 12, 3), 200, np.uint8)
    reader = format_of(path)
    first, second = (reader.open(path, reader.read_spec(path), CPU) for _ in range(2))
    assert first.batch == second.batch == 4
    assert first.infer(pixels).tobytes() == second.infer(pixels).tobytes()
    assert len(kept(graphs)) == 1


# What a graph is kept for


def test_a_file_of_other_weights_has_a_graph_of_its_own(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    before = answers(path)
    written(path, network(seed=1))
    assert not (answers(path) == before).all()
    written(path, network())
    assert (answers(path) == before).all()
    assert len(kept(graphs)) == 2


def test_copies_and_files_that_differ_in_their_spec_alone_share_one(colours, tmp_path, graphs):
    spec = colours.spec()
    first = colours.save(tmp_path / "first.onnx", spec)
    digest = graph_digest(first)
    for name, changes in (("a.onnx", {}), ("b.onnx", {"name": "renamed"})):
        path = colours.save(tmp_path / name, msgspec.structs.replace(spec, graph_sha256=digest, **changes))
        reader = format_of(path)
        reader.open(path, reader.read_spec(path), CPU)
    assert len(kept(graphs)) == 1


def test_a_file_that_is_not_as_it_was_exported_is_refused_as_before(colours, tmp_path, graphs):
    """Its spec promises a graph that is kept, and it has another one."""
    spec = msgspec.structs.replace(colours.spec(), graph_sha256=None)
    digest = graph_digest(colours.save(tmp_path / "unsigned.onnx", spec))
    signed = msgspec.structs.replace(spec, graph_sha256=digest)
    good = colours.save(tmp_path / "good.onnx", signed)
    bad = colours.save(tmp_path / "bad.onnx", signed, colours.graph(width=14))
    for path in (good, bad):
        reader = format_of(path)
        if path == bad:
            with pytest.raises(ModelError, match="not as it was exported"):
                reader.open(path, reader.read_spec(path), CPU)
        else:
            reader.open(path, reader.read_spec(path), CPU)
    assert len(kept(graphs)) == 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("back", [False, True], ids=["replaced", "and put back"])
def test_a_model_replaced_while_it_loads_keeps_no_graph(tmp_path, graphs, monkeypatch, signed, back):
    """The digest is of the old one, and the graph of the new one."""
    path, new = written(tmp_path / "model.onnx", network()), written(tmp_path / "new.onnx", network(seed=1))
    digest, load, old = graph_digest(path) if signed else None, engine._load, path.read_bytes()

    def replaced(*arguments, **settings):
        path.write_bytes(new.read_bytes())
        session = load(*arguments, **settings)
        if back:
            path.write_bytes(old)
        return session

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine, "_load", replaced)
        engine.open_graph(path, CPU, None, digest)
    assert kept(graphs) == []
    path.write_bytes(old)
    engine.open_graph(path, CPU, None, digest)
    assert len(kept(graphs)) == 1


X86 = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some Xeon\nstepping\t: 2\ncpu MHz\t\t: 2300.1\n"
    "flags\t\t: fpu sse\n"
)
ARM = (
    "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n"
)


@pytest.mark.parametrize("text", [X86, ARM])
def test_a_processor_is_told_by_what_it_can_do(tmp_path, text):
    def described(text):
        (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
        return graph_cache.processor(tmp_path / "cpuinfo")

    own = described(text)
    assert own == described(text.replace("2300.1", "900").replace("108.00", "9") + "\nprocessor\t: 1\nflags\t: other\n")
    for old, new in (("sse", "sse avx512f"), ("Xeon", "Core"), ("crc32", "crc32 asimddp"), ("0xd08", "0xd0b")):
        assert old not in text or described(text.replace(old, new)) != own


def test_a_processor_that_says_nothing_of_itself_still_has_a_description(tmp_path):
    assert graph_cache.processor(tmp_path / "missing").strip()
    (tmp_path / "cpuinfo").write_bytes(b"\xff\xfe\n\n")
    assert graph_cache.processor(tmp_path / "cpuinfo") == graph_cache.processor(tmp_path / "missing")


def test_another_onnxruntime_or_processor_keeps_its_own(tmp_path, graphs, monkeypatch):
    path = written(tmp_path / "model.onnx", network())
    answers(path)
    monkeypatch.setattr(onnxruntime, "__version__", "1.0.0")
    answers(path)
    assert len(kept(graphs)) == 2


# What is damaged


def assert_is_whole(file, before):
    """ONNX Runtime names some values otherwise each time that it saves a graph."""
    assert signed(file.read_bytes()[:-5]) == file.read_bytes()
    assert len(file.read_bytes()) == len(before)


def signed(graph):
    return graph + b"\x7d" + zlib.crc32(graph).to_bytes(4, "little")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "few", "zeros", "longer", "its end"])
def test_a_damaged_graph_is_made_anew(tmp_path, graphs, damage):
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    (file,) = kept(graphs)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(
        {"cut": whole[:-100], "flipped": bytes(flipped), "empty": b"", "few": b"ab", "zeros": bytes(5),
         "longer": whole + b"x", "its end": whole[-5:]}[damage]
    )  # fmt: skip
    assert answers(path).tobytes() == expected.tobytes()
    assert_is_whole(file, whole)
    assert kept(graphs) == [file]


def test_a_graph_that_is_whole_but_cannot_be_loaded_is_made_anew(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    (file,) = kept(graphs)
    whole = file.read_bytes()
    file.write_bytes(signed(b"no graph"))
    assert answers(path).tobytes() == expected.tobytes()
    assert_is_whole(file, whole)


def test_a_model_that_is_none_is_said_to_be_none(tmp_path, graphs):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot load it"):
        answers(path)
    assert kept(graphs) == []


# Whose it is


def planted(path, graphs):
    """Put another model's graph in the place of the one kept for `path`; give its file, and the answers of both."""
    own = answers(path)
    (file,) = kept(graphs)
    others = answers(written(path.with_name("other.onnx"), network(seed=1)))
    (other,) = set(kept(graphs)) - {file}
    shutil.copyfile(other, file)
    other.unlink()
    return file, own, others


def test_graphs_are_their_users_alone_whatever_the_umask(tmp_path, graphs):
    before = os.umask(0)
    try:
        path = written(tmp_path / "model.onnx", network())
        answers(path)
    finally:
        os.umask(before)
    (file,) = kept(graphs)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (graphs, file)] == [0o700, 0o600]
    before = file.stat().st_ino
    answers(path)
    assert file.stat().st_ino == before  # it is used


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_graph_that_others_may_write_is_made_anew(tmp_path, graphs, mode):
    path = written(tmp_path / "model.onnx", network())
    file, own, others = planted(path, graphs)
    assert (answers(path) == others).all()  # as long as it is the user's alone
    file.chmod(mode)
    assert (answers(path) == own).all()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (answers(path) == own).all()


@pytest.mark.parametrize("mode", [0o720, 0o777])
def test_a_folder_that_others_may_write_is_left_alone(tmp_path, graphs, mode):
    path = written(tmp_path / "model.onnx", network())
    file, own, _ = planted(path, graphs)
    there = file.read_bytes()
    graphs.chmod(mode)
    assert (answers(path) == own).all()
    assert kept(graphs) == [file]
    assert file.read_bytes() == there


def test_another_users_graphs_are_left_alone(tmp_path, graphs, monkeypatch):
    path = written(tmp_path / "model.onnx", network())
    file, own, _ = planted(path, graphs)
    there = file.read_bytes()
    monkeypatch.setattr(os, "geteuid", lambda: graphs.stat().st_uid + 1)
    assert (answers(path) == own).all()
    assert file.read_bytes() == there


# Where nothing is kept


def said(home, path, limit=None):
    """Run a model in a process of its own, and give its answers with all that it printed."""
    program = (
        "import sys, numpy as np; from pathlib import Path; from facectl_runtime.devices import Device\n"
        "from facectl_runtime.engines.onnx import open_graph\n"
        "graph = open_graph(Path(sys.argv[1]), Device('cpu'))\n"
        f"print(graph.run(np.zeros((1, {SIDE}, {SIDE}, 3), np.uint8)))"
    )
    bound = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(path)],
        env={**os.environ, "FACECTL_HOME": str(home)},
        preexec_fn=bound,
        capture_output=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_nothing_is_printed(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network(quantized=True))
    first, second = (said(graphs.parent, path) for _ in range(2))
    assert first == second
    assert first[1] == b""
    assert len(kept(graphs)) == 1


def test_a_home_that_cannot_be(tmp_path, monkeypatch):
    path = written(tmp_path / "model.onnx", network())
    expected = answers(path)
    (tmp_path / "file").write_bytes(b"")
    for home in (
        tmp_path / "file",
        tmp_path / "file/below",
        Path("/proc/none"),
        Path(f"/{'n' * 300}"),
        Path("~nobody-here"),
    ):
        monkeypatch.setenv("FACECTL_HOME", str(home))
        assert answers(path).tobytes() == expected.tobytes()
    assert (tmp_path / "file").read_bytes() == b""


def test_a_disk_that_fills_up(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    plain = said(graphs.parent, path)
    (file,) = kept(graphs)
    file.unlink()
    assert said(graphs.parent, path, limit=500) == plain
    assert kept(graphs) == []


def test_graphs_can_be_switched_off(tmp_path, graphs, monkeypatch):
    monkeypatch.setenv("FACECTL_GRAPH_CACHE", "0")
    answers(written(tmp_path / "model.onnx", network()))
    assert not graphs.exists()


def test_weights_in_other_files_keep_no_graph(tmp_path, graphs):
    """It would go on answering by the old ones when they change."""
    path = tmp_path / "model.onnx"
    for seed in (0, 1):
        (tmp_path / "weights").unlink(missing_ok=True)
        onnx.save(network(seed=seed), path, save_as_external_data=True, location="weights", size_threshold=100)
        assert answers(path).tobytes() == answers(written(tmp_path / f"{seed}.onnx", network(seed=seed))).tobytes()
    assert len(kept(graphs)) == 2  # of the two that are whole


def test_a_large_model_keeps_no_graph(tmp_path, graphs, monkeypatch):
    path = written(tmp_path / "model.onnx", network())
    monkeypatch.setattr(graph_cache, "_LARGEST", path.stat().st_size - 1)
    answers(path)
    assert not graphs.exists()


def test_a_graph_made_in_memory_is_not_kept(tmp_path, graphs):
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    engine.open_graph(tmp_path / "package", CPU, network().SerializeToString()).run(pixels)
    assert not graphs.exists()


def test_names_that_are_not_utf_8(tmp_path, graphs, monkeypatch):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.onnx"))
    path.write_bytes(network().SerializeToString())
    assert answers(path).tobytes() == answers(path).tobytes()
    assert len(kept(graphs)) == 1
    monkeypatch.setenv("FACECTL_HOME", os.fsdecode(os.fsencode(tmp_path) + b"/h\xff"))
    assert answers(path).tobytes() == answers(written(tmp_path / "model.onnx", network())).tobytes()


# Bounds


def test_the_least_recently_used_go_first(tmp_path, graphs, monkeypatch):
    monkeypatch.setattr(graph_cache, "_MOST_FILES", 2)
    first, second, third = (written(tmp_path / f"{seed}.onnx", network(seed=seed)) for seed in range(3))
    answers(first)
    (of_first,) = kept(graphs)
    answers(second)
    (of_second,) = set(kept(graphs)) - {of_first}
    for age, file in ((200, of_first), (100, of_second)):
        os.utime(file, (time.time() - age,) * 2)
    answers(first)  # a use
    answers(third)
    assert of_first in kept(graphs)
    assert of_second not in kept(graphs)
    assert len(kept(graphs)) == 2


def test_bytes_are_bounded_too(tmp_path, graphs, monkeypatch):
    answers(written(tmp_path / "0.onnx", network()))
    (old,) = kept(graphs)
    os.utime(old, (1, 1))
    monkeypatch.setattr(graph_cache, "_MOST_BYTES", old.stat().st_size * 3 // 2)
    answers(written(tmp_path / "1.onnx", network(seed=1)))
    assert len(kept(graphs)) == 1
    assert not old.exists()


def test_what_a_killed_process_left_is_removed(tmp_path, graphs):
    left = graphs / ".graph.facectl.abc"
    left.mkdir(parents=True)
    graphs.chmod(0o700)
    (left / "graph").write_bytes(b"half")
    answers(written(tmp_path / "model.onnx", network()))
    assert len(kept(graphs)) == 1
    assert not left.exists()


def test_processes_at_once(tmp_path, graphs):
    path = written(tmp_path / "model.onnx", network())
    program = (
        "import sys; from pathlib import Path; from facectl_runtime.engines.onnx import load; load(Path(sys.argv[1]))"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(path)], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in running] == [b""] * 2
    assert [process.returncode for process in running] == [0] * 2
    assert len(kept(graphs)) == 1
