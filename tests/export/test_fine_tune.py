"""Fine-tunings: what each makes of a network, and that it stays near the network it came from."""

from typing import get_type_hints

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

from tf_keras import layers  # noqa: E402

import tiny_network  # noqa: E402
from facectl_export.cli import export  # noqa: E402
from facectl_export.tuning import fine_tune as tuning  # noqa: E402
from facectl_export.tuning import simulate  # noqa: E402
from facectl_export.tuning.fine_tune import Material, check_backbone, fine_tune  # noqa: E402
from facectl_export.tuning.fold import fold  # noqa: E402
from facectl_runtime.errors import UsageError  # noqa: E402

SIDE, CLASSES = tiny_network.SIDE, 3


@pytest.fixture(scope="module")
def material():
    """Images of three colours, some noisy."""
    random = np.random.default_rng(0)
    truth = np.arange(72) % CLASSES
    colours = np.array([(200, 60, 50), (60, 170, 70), (50, 70, 200)])[truth][:, None, None]
    pixels = np.uint8(np.clip(colours + random.normal(0, 40, (72, SIDE, SIDE, 3)), 0, 255))
    return Material(list(pixels[:48]), list(pixels[48:]), truth[48:])


@pytest.fixture(scope="module")
def model(material):
    """Train the tiny branching network on them."""
    tf_keras.utils.set_random_seed(1)
    body = tiny_network.build(SIDE, "unit")
    x = layers.GlobalAveragePooling2D(name="features")(body.output)
    model = tf_keras.Model(body.input, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x))
    model.compile(tf_keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(np.stack(material.train), np.arange(48) % CLASSES, epochs=80, verbose=0)
    return model


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let the little network be shrunk as large ones are."""
    monkeypatch.setattr(simulate, "CLUSTERS", 8)
    monkeypatch.setattr(tuning, "RATES", dict.fromkeys(tuning.RATES, 1e-3))


def kernels(network, names):
    return {name: network.get_layer(name).get_weights()[0] for name in names}


@pytest.mark.parametrize("network", list(simulate.SIMULATIONS))
def test_a_tuned_network_is_plain_and_answers_as_before(model, material, network):
    before = model.get_weights()
    done = []
    plain, tuned = fine_tune(model, network, material, 3, 0, done.append)
    assert sum(done) == pytest.approx(1)
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), before, strict=True))
    assert [layer.name for layer in plain.layers] == [layer.name for layer in fold(model).layers]
    assert (tuned.network, tuned.epochs) == (network, 3)
    assert tuned.accuracy_before > 0.9
    assert tuned.accuracy_stripped > 0.9
    wanted, answers = model.predict_on_batch(np.stack(material.val)), plain.predict_on_batch(np.stack(material.val))
    assert np.mean(wanted.argmax(axis=1) == answers.argmax(axis=1)) > 0.9
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_a_pruned_network_has_its_large_layers_sparse(model, material):
    plain, _ = fine_tune(model, "pruned", material, 2, 0, lambda _: None)
    large = simulate._large(fold(model))
    assert "top" in large
    assert "probabilities" not in large
    for name, kernel in kernels(plain, large).items():
        assert np.mean(kernel == 0) == pytest.approx(simulate.SPARSITY, abs=0.02), name


def test_a_clustered_network_has_few_values_in_its_large_layers(model, material):
    plain, _ = fine_tune(model, "clustered", material, 1, 0, lambda _: None)
    for name, kernel in kernels(plain, simulate._large(fold(model))).items():
        assert len(np.unique(kernel)) <= simulate.CLUSTERS, name


def test_rounding_is_simulated_per_channel_in_ranges_that_were_observed(model, material):
    folded = fold(model)
    simulated = simulate.quantize_aware(folded, 1)
    pixels = np.stack(material.train)
    from facectl_export.tuning.fake_quant import observe_ranges

    blind = simulated.model.predict_on_batch(pixels)
    observe_ranges(simulated.model, [pixels[:24], pixels[24:]])
    answers, wanted = simulated.model.predict_on_batch(pixels), folded.predict_on_batch(pixels)
    off = np.abs(answers - wanted).max()
    assert 0 < off < 0.1
    assert np.abs(blind - wanted).max() > off
    kernel = next(layer for layer in simulated.model.layers if layer.name.endswith("top"))
    channels = {weight.name: weight.shape for weight in kernel.weights if "kernel_" in weight.name}
    assert set(map(tuple, channels.values())) == {(8,)}


def test_a_depthwise_kernel_has_a_scale_for_each_channel():
    from facectl_export.tuning.fake_quant import observe_ranges

    image = layers.Input((16, 16, 3), dtype="uint8")
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D(name="features")(layers.ReLU()(x))
    model = fold(tf_keras.Model(image, layers.Dense(2, activation="softmax", name="probabilities")(x)))
    kernel, bias = model.get_layer("depthwise").get_weights()
    kernel *= np.float32([1, 1e-2, 1e-4])[:, None]  # one scale for all would round the last two to nothing
    model.get_layer("depthwise").set_weights([kernel, bias])
    simulated = simulate.quantize_aware(model, 1).model
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    observe_ranges(simulated, [pixels])
    wrapper = next(layer for layer in simulated.layers if layer.name.endswith("depthwise"))
    rounded = np.asarray(wrapper.layer.depthwise_kernel)
    scale = np.abs(kernel).max(axis=(0, 1))[:, 0] / 127
    np.testing.assert_allclose(rounded / scale[:, None], np.rint(kernel / scale[:, None]), atol=1e-2)
    assert np.abs(rounded - kernel).max() > 0


def test_the_epochs_that_better_nothing_are_not_kept(model, material, monkeypatch):
    monkeypatch.setattr(tuning, "RATES", dict.fromkeys(tuning.RATES, 10.0))
    plain, _ = fine_tune(model, "quantize-aware", material, 1, 0, lambda _: None)
    from facectl_export.tuning.fake_quant import rounded

    for name in ("stem", "top"):
        layer = fold(model).get_layer(name)
        np.testing.assert_allclose(
            plain.get_layer(name).get_weights()[0], rounded(layer, layer.get_weights()[0]), atol=1e-6
        )


@pytest.mark.parametrize("name", ["mobilenet_v3", "efficientnet_b0"])
def test_a_backbone_that_the_toolkit_cannot_wrap_is_refused(name):
    with pytest.raises(UsageError, match=f"{name}: pruned fine-tuning does not know its layers; it does efficientnet"):
        check_backbone(name, "pruned")


@pytest.mark.parametrize("network", ["pruned", "clustered"])
def test_logits_of_most_weights_do_not_keep_the_others_from_being_small(network):
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Conv2D(8, 3, name="conv")(layers.Rescaling(1 / 255)(image))
    model = tf_keras.Model(image, layers.Dense(9, "softmax", name="probabilities")(layers.Flatten(name="features")(x)))
    folded = fold(model)
    assert folded.get_layer("logits").kernel.shape.num_elements() > 10 * folded.get_layer("conv").count_params()
    simulated = simulate.SIMULATIONS[network](folded, 4)
    assert [layer.layer.name for layer in simulated.model.layers if hasattr(layer, "layer")] == ["conv"]


@pytest.mark.parametrize("network", ["pruned", "clustered"])
def test_a_network_of_nothing_but_logits_is_not_fine_tuned(material, network):
    image = layers.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.GlobalAveragePooling2D(name="features")(layers.Rescaling(1 / 255)(image))
    model = tf_keras.Model(image, layers.Dense(CLASSES, "softmax", name="probabilities")(x), name="flat")
    with pytest.raises(UsageError, match=r"flat: only its last layer has weights.* take int8"):
        fine_tune(model, network, material, 1, 0, lambda _: None)


def test_help_says_how_many_epochs_there_are_where_it_is_not_said():
    (option,) = get_type_hints(export, include_extras=True)["epochs"].__metadata__
    counts = ", ".join(str(tuning.EPOCHS[network]) for network in ("quantize-aware", "pruned", "clustered"))
    assert f"[default: {counts}]" in option.help
