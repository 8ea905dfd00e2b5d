"""What people write to run an ONNX classifier on a folder (MODEL LABELS.txt FOLDER): OpenCV, then image by image."""

import sys
from pathlib import Path

import cv2
import onnxruntime

model, labels, folder = sys.argv[1:]
names = Path(labels).read_text().splitlines()
session = onnxruntime.InferenceSession(model)
name = session.get_inputs()[0].name
height, width = session.get_inputs()[0].shape[1:3]
for path in sorted(Path(folder).iterdir()):
    image = cv2.imread(str(path))
    image = cv2.resize(image, (width, height))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    answers = session.run(None, {name: image[None]})[0][0]
    print(path.name, names[answers.argmax()], answers.max(), sep="\t")
