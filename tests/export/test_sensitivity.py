"""Which layers stay float: as few as val allows, the most sensitive first."""

import pytest
from msgspec.structs import replace

from drawn_export import compared
from facectl_export.precision import PRECISIONS
from facectl_export.sensitivity import Whole, keep_float, keep_named

LAYERS = [f"conv{number}" for number in range(12)]
TOLERANCE = PRECISIONS["int8"].tolerance


class Network:
    """A network whose layers each cost some agreement when they are quantized."""

    def __init__(self, folder, costs):
        self.costs, self.path, self.tried = costs, folder / "int8.bin", []

    def quantize(self, keep):
        self.tried.append(tuple(keep))
        self.path.write_bytes(b"0" * (1000 + 3 * len(keep)))
        return self.path

    def compare(self, path):
        assert path == self.path
        cost = sum(cost for layer, cost in self.costs.items() if layer not in self.tried[-1])
        return replace(compared(), agreement=1 - cost, kl=cost / 10)


@pytest.fixture
def network(tmp_path):
    return lambda **costs: Network(tmp_path, costs)


def kept(network):
    counted = []
    found = keep_float(network.quantize, network.compare, whole(network), LAYERS, TOLERANCE, counted.append)
    return found, counted


def whole(network):
    path = network.quantize(())
    return Whole(network.compare(path), path.stat().st_size)


def test_the_layer_that_hurts_stays_float(network):
    found, counted = kept(network(conv1=0.01, conv5=0.2))
    assert found.layers == ("conv5",)
    assert (found.agreement_before, found.agreement) == (pytest.approx(0.79), pytest.approx(0.99))
    assert (found.bytes_before, found.bytes) == (1000, 1003)
    assert counted == [1] * len(LAYERS)


def test_more_layers_stay_float_until_val_is_within_tolerance(network):
    one = network(conv0=0.05, conv2=0.2, conv4=0.1)
    found, _ = kept(one)
    assert found.layers == ("conv2", "conv4", "conv0", "conv1")
    assert one.tried[-1] == found.layers, "the file that is left is the one that was measured"


def test_at_most_a_third_of_the_layers_stay_float(network):
    found, _ = kept(network(**dict.fromkeys(LAYERS, 0.1)))
    assert len(found.layers) == len(LAYERS) // 3
    assert found.agreement == pytest.approx(0.2)


def test_layers_that_are_named_stay_float_and_are_measured(network):
    one = network(conv0=0.05, conv2=0.2)
    found = keep_named(one.quantize, one.compare, whole(one), ["conv2", "conv5"])
    assert found.layers == one.tried[-1] == ("conv2", "conv5")
    assert (found.agreement_before, found.agreement) == (pytest.approx(0.75), pytest.approx(0.95))
