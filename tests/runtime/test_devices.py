"""The words of --device, and what happens where the device is not there."""

import onnxruntime
import pytest

from facectl_runtime.devices import Device, parse_device, usable_cores
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
    "text", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda:1000", "cpu:0", "cuda\n", " cpu"]
)
def test_unknown_words_name_the_known_ones(text):
    with pytest.raises(UsageError, match="auto, cpu, cuda or cuda:N") as caught:
        parse_device(text)
    assert repr(text) in str(caught.value)


def test_there_is_a_core():
    assert usable_cores() >= 1


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
