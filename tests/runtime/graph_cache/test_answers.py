"""Graphs kept between runs: the same answers, at once, of the very file that is asked."""

import shutil

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from facectl_runtime.engines import format_of, graph_cache
from facectl_runtime.engines import onnx as engine
from facectl_runtime.errors import ModelError
from facectl_runtime.onnx_metadata import graph_digest
from kept_graphs import CPU, SIDE, answers, kept, network, written


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
