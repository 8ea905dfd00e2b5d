"""The least that any Python program needs to answer one photograph by ONNX (MODEL IMAGE): the floor under cold start.

MODEL is a graph that ONNX Runtime has already optimized for this processor, and is told to leave as it is.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, photograph = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(model, options)
height, width = session.get_inputs()[0].shape[1:3]
with Image.open(photograph) as image:
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
answers = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
best = int(answers.argmax())
print(json.dumps({"class": best, "probability": float(answers[best])}))
