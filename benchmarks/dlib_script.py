"""What people write to embed faces with dlib, as the package face_recognition does it: found, five landmarks, network.

A path a line comes in; a line goes out for each, as JSON: the milliseconds from the file to the embedding, whether a
face was found, and the 128 numbers. Where none is found, the middle of the picture is taken for one, as LFW has them.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

UPSAMPLED, JITTERED = 1, 1
"""How often, by face_recognition's default."""
MIDDLE = (0.27, 0.32, 0.70, 0.75)
"""Left, upper, right, lower, as shares of the sides: where its own boxes lie in LFW, by the median."""

package = importlib.util.find_spec("face_recognition_models")
models = Path(package.submodule_search_locations[0]) / "models"
detector = dlib.get_frontal_face_detector()
landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))


def chosen(boxes: list, width: int, height: int) -> dlib.rectangle:
    """Give the largest and most central box, or the middle of the picture where there is none."""
    if not boxes:
        return dlib.rectangle(*np.rint(np.multiply(MIDDLE, (width, height, width, height))).astype(int).tolist())
    return max(boxes, key=lambda box: box.area() - 2 * _distance(box, width, height))


def _distance(box: dlib.rectangle, width: int, height: int) -> float:
    """Give the square of that between the centres of a box and of the picture."""
    centre = box.dcenter()
    return (centre.x - width / 2) ** 2 + (centre.y - height / 2) ** 2


for line in sys.stdin:
    started = time.perf_counter()
    picture = np.array(Image.open(line.rstrip("\n")).convert("RGB"))
    found = detector(picture, UPSAMPLED)
    face = landmarks(picture, chosen(list(found), picture.shape[1], picture.shape[0]))
    embedding = np.array(network.compute_face_descriptor(picture, face, JITTERED))
    ms = 1e3 * (time.perf_counter() - started)
    print(json.dumps({"ms": ms, "found": len(found) > 0, "embedding": embedding.tolist()}), flush=True)
