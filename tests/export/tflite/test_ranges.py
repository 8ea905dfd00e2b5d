"""The ranges by which a TFLite file is quantized: all that was met, or what a histogram leaves of it."""

import numpy as np
import pytest

from calibrated import calibrated
from drawn_run import SIDE, _spec, tiny_model
from facectl_export.formats import tflite
from facectl_runtime.errors import ModelError, UsageError
from tflite_networks import LABELS, NETWORKS, answer


def test_minmax_is_all_that_was_met(made, pixels, ranges):
    import tf_keras

    network = made["flat"].network
    inside = tf_keras.Model(network.input, network.get_layer("lower").output).predict_on_batch(pixels)
    (found,) = [range_ for name, range_ in ranges["flat"].limits.items() if "lower" in name.split("/")]
    assert found == pytest.approx((inside.min(), inside.max()), abs=1e-5)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_histogram_gives_ranges_inside_minmax_that_work(made, pixels, ranges, tmp_path, method, name):
    one, path = made[name], tmp_path / "int8.tflite"
    found = calibrated(tflite, one.path, iter([pixels]), method)
    assert found.limits.keys() == ranges[name].limits.keys()
    for tensor, (low, high) in found.limits.items():
        least, most = ranges[name].limits[tensor]
        assert least - 1e-6 <= low <= high <= most + 1e-6
    tflite.write_int8(one.path, found, path)
    agreement = answer(path, one.spec, pixels).argmax(axis=1) == one.network.predict_on_batch(pixels).argmax(axis=1)
    assert agreement.mean() >= 0.75


@pytest.mark.parametrize(("method", "most"), [("minmax", 255), ("entropy", 150), ("percentile", 25)])
def test_one_bright_pixel_among_many_dark_images_is_cut_by_the_methods_that_cut(made, method, most):
    dark = np.random.default_rng(0).integers(0, 20, (200, SIDE, SIDE, 3), dtype=np.uint8)
    dark[100, 3, 3, 0] = 255
    (found,) = [
        range_
        for name, range_ in calibrated(tflite, made["flat"].path, [dark], method).limits.items()
        if "Cast" in name
    ]
    assert found[0] == 0
    assert 18 <= found[1] <= most
    assert (found[1] == 255) == (method == "minmax")


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_calibration_without_images_says_so(made, method):
    with pytest.raises(UsageError, match="no images to calibrate"):
        calibrated(tflite, made["flat"].path, [], method)


def test_a_network_of_no_numbers_is_refused(tmp_path, pixels):
    network = tiny_model(3)
    weights = network.get_weights()
    weights[0][0, 0, 0, 0] = np.nan
    network.set_weights(weights)
    path = tmp_path / "nan.tflite"
    tflite.write_fp32(network, _spec("tiny", LABELS, 0), path)
    with pytest.raises(ModelError, match=r"nan\.tflite: .*not finite"):
        calibrated(tflite, path, [pixels], "minmax")
