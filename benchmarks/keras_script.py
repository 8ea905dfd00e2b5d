"""What people write to run a Keras classifier on a folder (MODEL LABELS.txt FOLDER): Keras loads, Keras predicts."""

import sys
from pathlib import Path

import tf_keras

model, labels, folder = sys.argv[1:]
names = Path(labels).read_text().splitlines()
network = tf_keras.models.load_model(model)
photographs = tf_keras.utils.image_dataset_from_directory(
    folder, labels=None, shuffle=False, image_size=network.input_shape[1:3]
)
for path, answers in zip(photographs.file_paths, network.predict(photographs, verbose=0), strict=True):
    print(Path(path).name, names[answers.argmax()], answers.max(), sep="\t")
