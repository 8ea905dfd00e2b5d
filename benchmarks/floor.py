"""The least that any Python program needs to answer one photograph (MODEL IMAGE): the floor under cold start."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, photograph = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
height, width = session.get_inputs()[0].shape[1:3]
with Image.open(photograph) as image:
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
answers = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
best = int(answers.argmax())
print(json.dumps({"class": best, "probability": float(answers[best])}))
