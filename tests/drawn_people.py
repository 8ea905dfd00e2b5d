"""Drawn people, and a recipe by which a tiny network learns to tell them apart."""

import numpy as np
from PIL import Image

from tiny_network import SIDE

HEAD = """
backbone = "tiny"
resize = { kind = "squash" }
split = { test = 0.25, val = 0.2 }
"""
STAGE = """
[[stages]]
train = "head"
optimizer = "adam"
rate = 1e-2
epochs = 12
patience = 12
"""
LAYERS = 'layers = [{ width = 16, activation = "linear" }], triplets = 600'
RECIPE = f"{HEAD}features = {{ grid = 2 }}\nembed = {{ {LAYERS} }}\n{STAGE}"


def draw_people(folder, names, each=5, seed=0):
    """Draw people who differ in how the quarters of their picture differ; the light is stronger and says nothing."""
    random = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        a, b = random.uniform(-12, 12, (2, 3))
        for number in range(each):
            quarters = random.uniform(80, 175, 3) + np.array([[a + b, a - b], [b - a, -a - b]])
            pixels = np.repeat(np.repeat(quarters, SIDE // 2, 0), SIDE // 2, 1) + random.normal(0, 10, (SIDE, SIDE, 3))
            Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(folder / name / f"{number}.png")
    return folder
