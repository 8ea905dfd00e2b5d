"""Files of models of others, and of their labels."""

import onnx
import pytest

from foreign_graph import LABELS, graph


@pytest.fixture
def foreign(tmp_path):
    """Give a function that writes a model of others."""

    def write(name="other.onnx", **options):
        path = tmp_path / name
        onnx.save(graph(**options), path)
        return path

    return write


@pytest.fixture
def labels(tmp_path):
    """Give a function that writes a file of labels."""

    def write(names=LABELS, name="labels.txt"):
        path = tmp_path / name
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
        return path

    return write
