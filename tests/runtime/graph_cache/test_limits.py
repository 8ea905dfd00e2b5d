"""Nothing is lost or said where graphs cannot be kept, and what is kept is bounded."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx

from facectl_runtime.engines import graph_cache
from facectl_runtime.engines import onnx as engine
from kept_graphs import CPU, SIDE, answers, kept, network, written

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
