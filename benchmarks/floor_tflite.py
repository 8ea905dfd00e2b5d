"""The least that any Python program needs to answer one photograph by TFLite (MODEL IMAGE)."""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model, photograph = sys.argv[1:]
interpreter = Interpreter(model)
interpreter.allocate_tensors()
given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
height, width = given["shape"][1:3]
with Image.open(photograph) as image:
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
interpreter.set_tensor(given["index"], pixels[None])
interpreter.invoke()
answers = interpreter.get_tensor(answer["index"])[0]
best = int(answers.argmax())
print(json.dumps({"class": best, "probability": float(answers[best])}))
