"""Features are kept for what decided them, and are given to no other."""

import dataclasses

import numpy as np
import pytest

from facectl_runtime.spec import CenterCrop, InputSpec, Letterbox, Squash
from facectl_trainer.backbones import Backbone
from facectl_trainer.prepare import prepare
from facectl_trainer.recipe import SplitPlan
from facectl_trainer.weights import Weights


class Mean:
    def predict_on_batch(self, pixels):
        return pixels.mean(axis=(1, 2)).astype(np.float32)


BODY = Backbone("mean", 8, 8, 3, Weights("none.pth", "0" * 64, "none", "none", "none"), lambda _: Mean())
SPEC = InputSpec(8, 8, Squash())


@pytest.fixture
def builds(tmp_path, monkeypatch, draw_classes):
    """Give a function that prepares the same photographs, and tells how often it built the backbone for that."""
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "home"))
    folder = draw_classes(tmp_path / "photos", {"red": 8, "blue": 8})

    def count(body=BODY, spec=SPEC):
        built = []

        def build(weights):
            built.append(weights)
            return body.build(weights)

        spied = dataclasses.replace(body, build=build)
        prepare(folder, spied, tmp_path / "none.pth", spec, SplitPlan(0.25, 0.25), seed=0, fold=None, quiet=True)
        return len(built)

    return count


@pytest.mark.parametrize(
    "other",
    [
        {"spec": InputSpec(8, 8, CenterCrop(0.5))},
        {"spec": InputSpec(8, 8, Letterbox())},
        {"spec": InputSpec(9, 8, Squash())},
        {"body": dataclasses.replace(BODY, name="another")},
        {"body": dataclasses.replace(BODY, weights=dataclasses.replace(BODY.weights, sha256="1" * 64))},
    ],
    ids=["crop", "letterbox", "width", "backbone", "weights"],
)
def test_features_are_used_again_for_the_same_input_and_backbone_alone(builds, other):
    assert [builds(), builds(), builds(**other), builds(**other), builds()] == [1, 0, 1, 0, 0]
