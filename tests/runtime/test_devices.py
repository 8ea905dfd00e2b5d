"""The words of --device, the cores that there are, and what happens where the device is not there."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from facectl_runtime.cgroup import cpu_quota
from facectl_runtime.devices import Device, affinity, parse_device, usable_cores
from facectl_runtime.engines import format_of
from facectl_runtime.errors import UsageError

GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.parametrize(
    ("text", "device", "shown"),
    [
        ("auto", Device("auto"), "auto"),
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda", 0), "cuda:0"),
        ("cuda:0", Device("cuda", 0), "cuda:0"),
        ("cuda:12", Device("cuda", 12), "cuda:12"),
    ],
)
def test_known_words(text, device, shown):
    assert parse_device(text) == device
    assert str(device) == shown


@pytest.mark.parametrize(
    "text", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda:1000", "cuda:\u0661", "cpu:0", "cuda\n", " cpu"]
)
def test_unknown_words_name_the_known_ones(text):
    with pytest.raises(UsageError, match="auto, cpu, cuda or cuda:N") as caught:
        parse_device(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("threads", [1, 7, 1024])
def test_threads_asked_for_are_the_cores_used(threads):
    device = parse_device("cuda:1", threads)
    assert (device, device.cores, str(device)) == (Device("cuda", 1, threads), threads, "cuda:1")


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_threads_that_no_machine_starts(threads):
    with pytest.raises(UsageError, match=f"--threads {threads} .* 1 to 1024"):
        parse_device("cpu", threads)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in Linux's /proc")
def test_an_engine_starts_as_many_threads_as_it_is_told_to(model):
    reader = format_of(model)
    spec = reader.read_spec(model)

    def started(threads):
        before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
        kept = reader.engine(model, spec, Device("cpu", threads=threads))  # noqa: F841  # its threads end with it
        return len(os.listdir("/proc/self/task")) - before  # noqa: PTH208

    assert started(5) - started(2) == 3


def test_there_is_a_core():
    assert 1 <= usable_cores() <= affinity()
    assert Device("cpu").cores == usable_cores()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux binds a process to processors")
def test_a_process_bound_to_one_core_uses_one():
    one = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{one}]); from facectl_runtime.devices import *; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"1\n"


V1 = "4:memory:/elsewhere\n3:cpu,cpuacct:/docker/1f\n"
ROOT, OUTER, INNER = "sys/fs/cgroup", "sys/fs/cgroup/outer", "sys/fs/cgroup/outer/in.slice"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/outer/in.slice\n", {f"{INNER}/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/outer/in.slice\n", {f"{INNER}/cpu.max": "max 100000\n"}, None),
        ("0::/outer/in.slice\n", {f"{INNER}/cpu.max": "max 100000", f"{OUTER}/cpu.max": "50000 100000"}, 0.5),
        ("0::/outer/in.slice\n", {f"{INNER}/cpu.max": "100000 100000", f"{OUTER}/cpu.max": "300000 100000"}, 1.0),
        ("0::/\n", {f"{ROOT}/cpu.max": "200000 100000"}, 2.0),
        ("0::/../../other\n", {f"{ROOT}/cpu.max": "200000 100000"}, 2.0),
        ("0::/outer\n", {"sys/fs/cgroup/unified/outer/cpu.max": "250000 100000"}, 2.5),
        (V1, {f"{ROOT}/cpu,cpuacct/docker/1f/cpu.cfs_quota_us": "50000\n",
              f"{ROOT}/cpu,cpuacct/docker/1f/cpu.cfs_period_us": "20000\n"}, 2.5),
        # A container of version 1: the path is the one outside, and its group lies at the mount.
        (V1, {f"{ROOT}/cpu/cpu.cfs_quota_us": "100000", f"{ROOT}/cpu/cpu.cfs_period_us": "100000"}, 1.0),
        (V1, {f"{ROOT}/cpu/cpu.cfs_quota_us": "-1", f"{ROOT}/cpu/cpu.cfs_period_us": "100000"}, None),
        (V1, {f"{ROOT}/cpu/cpu.cfs_quota_us": "100000"}, None),
        ("3:cpuset:/x\n", {f"{ROOT}/cpu/cpu.cfs_quota_us": "1", f"{ROOT}/cpu/cpu.cfs_period_us": "1"}, None),
        *[("0::/\n", {f"{ROOT}/cpu.max": odd}, None) for odd in ("", "x y", "1 0", "-5 100", "nan 1", "1 2 3", "\0")],
        ("not as it should be", {f"{ROOT}/cpu.max": "100000 100000"}, None),
        (None, {f"{ROOT}/cpu.max": "100000 100000"}, None),
    ],
)  # fmt: skip
def test_the_quota_is_the_least_in_force(tmp_path, own, files, quota):
    for name, text in {**files, **({"proc/self/cgroup": own} if own else {})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.2, 1), (1.0, 1), (1.1, 2), (7.5, 8), (64.0, 8)])
def test_cores_are_the_quota_rounded_up_and_never_more_than_there_are(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("facectl_runtime.cgroup.cpu_quota", lambda: quota)
    assert usable_cores() == cores


@pytest.mark.parametrize("command", ["predict", "evaluate", "verify"])
def test_an_unknown_word_is_a_usage_error_of_every_command(model, classes, facectl, command):
    more = {"predict": [classes], "evaluate": ["--data", classes], "verify": []}[command]
    ran = facectl(command, model, *more, "--device", "gpu")
    assert ran.code == 2
    assert "'gpu'" in ran.error()


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
@pytest.mark.parametrize("command", ["predict", "evaluate", "verify"])
@pytest.mark.parametrize("word", ["cuda", "cuda:1"])
def test_cuda_never_becomes_cpu_unasked(model, classes, facectl, command, word):
    more = {"predict": [classes], "evaluate": ["--data", classes], "verify": []}[command]
    ran = facectl(command, model, *more, "--device", word)
    assert ran.code == 6
    assert f"--device {parse_device(word)}: this ONNX Runtime has no CUDA" in ran.error()


@pytest.mark.parametrize("word", ["cpu", "auto"])
def test_results_say_the_device_asked_for_and_the_one_used(model, paint, facectl, word):
    found = facectl("predict", model, paint("red.png"), "--json", "--device", word).json()
    assert found["device_requested"] == word
    assert found["device"] == "cpu" or (GPU and word == "auto")


# The cure


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Give a function that leaves nothing installed but packages of these names."""

    def only(*names):
        for name in names:
            (tmp_path / "site" / f"{name}-1.31.1.dist-info").mkdir(parents=True)
        monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])

    return only


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
@pytest.mark.parametrize(
    ("names", "cure"),
    [
        (["onnxruntime"],
         "put onnxruntime-gpu in its place: pip uninstall -y onnxruntime && pip install 'facectl[gpu]'"),
        (["onnxruntime_gpu"], "nvidia-smi lists the GPU, and install the libraries with: pip install "
                              "'onnxruntime-gpu[cuda,cudnn]'"),
        (["onnxruntime", "onnxruntime_gpu"],
         "onnxruntime and onnxruntime-gpu are both installed and overwrite one another: pip uninstall -y onnxruntime "
         "onnxruntime-gpu && pip install 'facectl[gpu]'"),
        ([], "pip install 'facectl[gpu]'"),
    ],
)  # fmt: skip
def test_without_cuda_the_right_cure_is_named(model, facectl, packages, names, cure):
    assert facectl("verify", model).code == 0  # all that is needed is imported by now
    packages(*names)
    ran = facectl("verify", model, "--device", "cuda")
    assert ran.code == 6
    assert f"{cure}, or use --device cpu" in ran.error()


@pytest.fixture
def without_libraries(monkeypatch):
    """Make ONNX Runtime one with CUDA whose libraries are missing, of which it tells on stdout."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9: no such file\nSee …"))


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.usefixtures("without_libraries")
def test_missing_libraries_are_the_reason_and_no_answer(model, classes, facectl):
    auto = facectl("verify", model, "--json")
    assert auto.json()[0]["device"] == "cpu"
    assert "libcudnn" not in auto.err
    for words in (["predict", model, classes], ["evaluate", model, "--data", classes]):
        assert "the GPU is not used: Failed to load libcudnn.so.9: no such file" in facectl(*words).err
        assert facectl(*words, "--device", "cpu", "--quiet").err == ""
    ran = facectl("verify", model, "--device", "cuda")
    assert ran.code == 6
    assert "--device cuda:0: Failed to load libcudnn.so.9: no such file; " in ran.error()


@pytest.mark.parametrize("content", ["", "raise ImportError('libstdc++.so.6: version not found')"])
def test_an_onnxruntime_that_lost_its_files_is_installed_again(model, spawn, tmp_path, content):
    """Such as one that pip left when it removed the other of the two."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text(content, encoding="utf-8")
    ran = spawn("verify", model, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ran.code == 2
    assert "onnxruntime is installed but does not start (" in ran.error()
    assert "install it again: pip " in ran.error()
