"""facectl doctor, in environments that are right, bare and spoilt: folders that look like installed packages."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import onnxruntime
import pytest

import facectl_runtime.cli.doctor  # noqa: F401  # no longer found once the path is another
from facectl_runtime import __version__, doctor

GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
METADATA = """Metadata-Version: 2.4
Name: facectl
Version: 1
Requires-Dist: numpy>=2.0
Provides-Extra: camera
Requires-Dist: av>=15; extra == 'camera'
Provides-Extra: cpu
Requires-Dist: onnxruntime>=1.24; extra == 'cpu'
Provides-Extra: dev
Requires-Dist: pytest>=8; extra == 'dev'
Provides-Extra: gpu
Requires-Dist: onnxruntime-gpu>=1.24; extra == 'gpu'
Provides-Extra: heic
Requires-Dist: pillow-heif>=1.1; extra == 'heic'
Provides-Extra: train
Requires-Dist: tensorflow<3,>=2.19; extra == 'train'
Requires-Dist: tf-keras<3,>=2.19; extra == 'train'
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Give a function that leaves nothing installed but facectl and packages of these names and programs."""

    def only(**programs):
        site = tmp_path / "site"
        (site / "facectl-1.dist-info").mkdir(parents=True)
        (site / "facectl-1.dist-info/METADATA").write_text(METADATA, encoding="utf-8")
        for name, program in programs.items():
            (site / f"{name}-1.2.dist-info").mkdir()
            if program:
                (site / f"{name}.py").write_text(program, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(site), *(path for path in sys.path if "site-packages" not in path)])
        return site

    return only


@pytest.fixture
def examined(facectl, monkeypatch):
    """Give a function that runs `facectl doctor --json`, and gives its exit code, and its findings by name."""
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR", raising=False)

    def run():
        ran = facectl("doctor", "--json")
        assert ran.err == ""
        return ran.code, {finding["what"]: finding for finding in ran.json()["findings"]}

    return run


def test_this_installation(facectl, monkeypatch):
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR", raising=False)
    ran = facectl("doctor", "--json")
    report = ran.json()
    assert (ran.code, ran.err, report["consistent"]) == (0, "", True)
    assert (report["facectl"], report["python"]) == (__version__, platform.python_version())
    assert report["cores"]["used"] >= 1
    found = {finding["what"]: finding for finding in report["findings"]}
    extras = set(metadata.metadata("facectl").get_all("Provides-Extra")) - {"dev"}
    assert {f"facectl[{extra}]" for extra in extras} == {what for what in found if "[" in what}
    assert found["facectl[cpu]"]["state"] == "ok"
    assert found["facectl[cpu]"]["detail"] == f"onnxruntime {onnxruntime.__version__}"
    assert all((finding["state"] == "ok") <= (finding["cure"] is None) for finding in report["findings"])


def test_a_bare_one_misses_much_and_breaks_nothing(packages, facectl, monkeypatch):
    monkeypatch.delenv("FACECTL_WEIGHTS_DIR", raising=False)
    packages()
    ran = facectl("doctor")
    assert (ran.code, ran.err) == (0, "")
    lines = {" ".join(line.split()) for line in ran.out.splitlines()}
    assert "missing facectl[camera] no av: pip install 'facectl[camera]'" in lines
    assert "missing facectl[cpu] no onnxruntime: pip install 'facectl[cpu]'" in lines
    assert "missing facectl[train] no tensorflow, tf-keras: pip install 'facectl[train]'" in lines
    assert "missing cuda:0 no ONNX Runtime: pip install 'facectl[gpu]'" in lines
    assert not any("dev" in line.split()[1] for line in lines)
    assert any(line.startswith("ok cpu ") and "cores in use (affinity " in line for line in lines)


def test_what_is_installed_and_does_not_start_is_broken(packages, examined):
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    packages(av="raise ImportError('libavcodec.so.61: no such file')", pillow_heif=killed)
    code, found = examined()
    assert code == 1
    assert found["facectl[camera]"] == {
        "state": "broken",
        "what": "facectl[camera]",
        "detail": "av 1.2 does not start: ImportError: libavcodec.so.61: no such file",
        "cure": "pip install --force-reinstall --no-deps av==1.2",
    }
    assert found["facectl[heic]"]["detail"] == "pillow-heif 1.2 does not start: killed by SIGILL"


def test_the_heavy_ones_are_not_imported(packages, examined):
    packages(tensorflow="raise SystemExit('imported')", tf_keras="raise SystemExit('imported')")
    code, found = examined()
    assert code == 0
    assert found["facectl[train]"]["detail"] == "tensorflow 1.2, tf-keras 1.2"


def test_both_onnxruntimes(packages, examined):
    packages(onnxruntime="", onnxruntime_gpu="")
    code, found = examined()
    assert code == 1
    both = found["onnxruntime"]
    assert both["state"] == "broken"
    assert "onnxruntime 1.2 and onnxruntime-gpu 1.2 are both installed" in both["detail"]
    for extra in ("cpu", "gpu"):
        assert f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'facectl[{extra}]'" in both["cure"]


def test_one_onnxruntime_is_no_conflict(packages, examined):
    packages(onnxruntime="")
    code, found = examined()
    assert code == 0
    assert "onnxruntime" not in found
    assert found["facectl[gpu]"]["cure"] == "pip uninstall -y onnxruntime && pip install 'facectl[gpu]'"


def test_the_gpu_one_computes_on_the_cpu_too(packages, examined):
    packages(onnxruntime_gpu="")
    _, found = examined()
    assert (found["facectl[cpu]"]["state"], found["facectl[cpu]"]["cure"]) == ("missing", None)
    assert "not needed" in found["facectl[cpu]"]["detail"]


@pytest.mark.parametrize(("built_for", "broken"), [("13.0", True), ("12.8", False)])
def test_cuda_libraries_of_two_majors(packages, examined, built_for, broken):
    site = packages(onnxruntime_gpu="", tensorflow="", tf_keras="", nvidia_cudnn_cu12="")
    about = site / "elsewhere/onnxruntime/capi/build_and_package_info.py"
    about.parent.mkdir(parents=True)
    about.write_text(f"package_name = 'onnxruntime-gpu'\ncuda_version = '{built_for}'\n", encoding="utf-8")
    sys.path.append(str(site / "elsewhere"))
    code, found = examined()
    assert code == broken
    assert ("separate environments" in found["cuda libraries"]["cure"]) if broken else "cuda libraries" not in found


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
def test_a_gpu_that_onnxruntime_does_not_start(packages, tmp_path):
    packages(onnxruntime_gpu="")
    (tmp_path / "dev").mkdir()
    (finding,) = doctor.gpus(tmp_path)
    assert (finding.state, finding.what) == ("missing", "cuda:0")
    assert finding.detail == "this ONNX Runtime has no CUDA"
    assert "pip install 'facectl[gpu]'" in finding.cure
    (tmp_path / "dev/nvidia0").touch()
    assert [finding.state for finding in doctor.gpus(tmp_path)] == ["broken"]


def test_what_cuda_says_of_itself_is_whole(packages, monkeypatch):
    packages(onnxruntime_gpu="")
    said = "CUDA failure 100: no device [with ERRTYPE = cudaError; bool THRW = true]"
    monkeypatch.setattr(doctor, "_fails", lambda _: f"--device cuda:0: {said}; check it, or use --device cpu")
    (finding,) = doctor.gpus()
    assert (finding.detail, finding.cure) == (said, "check it")
    monkeypatch.setattr(doctor, "_fails", lambda _: "killed by SIGSEGV")
    (finding,) = doctor.gpus()
    assert (finding.detail, finding.cure) == ("killed by SIGSEGV", None)


def test_cameras(tmp_path, monkeypatch):
    (tmp_path / "dev").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert doctor.cameras(tmp_path).state == "missing"
    for name in ("dev/video0", "dev/video10", "bin/rpicam-vid"):
        (tmp_path / name).touch(mode=0o755)
    assert doctor.cameras(tmp_path).detail == "/dev/video0, /dev/video10, rpicam-vid"
    about = tmp_path / "sys/class/video4linux/video10"
    about.mkdir(parents=True)
    (about / "name").write_text("bcm2835-codec-decode\n")
    assert doctor.cameras(tmp_path).detail == "/dev/video0, rpicam-vid"
    (about / "name").write_text("LG UltraFine Display Camera\n")
    assert doctor.cameras(tmp_path).detail == "/dev/video0, /dev/video10, rpicam-vid"
    monkeypatch.setattr(os, "access", lambda path, _: "video0" not in str(path))
    finding = doctor.cameras(tmp_path)
    assert (finding.state, finding.cure) == ("ok", None)
    assert finding.detail == "/dev/video10, rpicam-vid; /dev/video0 may not be opened by this user"
    for name in ("dev/video10", "bin/rpicam-vid"):
        (tmp_path / name).unlink()
    finding = doctor.cameras(tmp_path)
    assert (finding.state, finding.detail) == ("missing", "/dev/video0 may not be opened by this user")
    assert finding.cure.startswith("sudo usermod -aG video")


def test_folders(packages, examined, monkeypatch, tmp_path):
    packages()
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(tmp_path))
    code, found = examined()
    assert (code, found["cache"]["state"], found["weights"]["state"]) == (0, "ok", "ok")
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "file/home"))
    monkeypatch.setenv("FACECTL_WEIGHTS_DIR", str(tmp_path / "none"))
    code, found = examined()
    assert (code, found["cache"]["state"], found["weights"]["state"]) == (1, "missing", "broken")


def test_what_an_extra_asks_for_on_this_machine():
    here = f"platform_machine == '{platform.machine()}'"
    lines = [
        "numpy>=2",
        "Tf_Keras<3,>=2; extra == 'a'",
        'other>=1; extra == "ab"',
        f"mine>=1; (platform_system == 'Nowhere' or {here}) and extra == 'a'",
        "theirs>=1; platform_system == 'Nowhere' and extra == 'a'",
    ]
    assert doctor.required(lines, "a") == ["tf-keras", "mine"]


def test_it_is_documented_as_it_is(facectl, packages):
    packages()
    page = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
    section = page.partition("\n## doctor\n")[2].partition("\n## ")[0]
    report = facectl("doctor", "--json").json()
    names = [*report, *report["cores"], *report["findings"][0]]
    assert [name for name in names if f"`{name}`" not in section] == []
