"""FCN against its paper, and the harness."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from families.base import FamilyTests

from keras_bisenet.errors import UsageError
from keras_bisenet.export.convert import convert_model
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.models import build_model
from keras_bisenet.models.cost import cost_by_part
from keras_bisenet.models.fcn import bilinear_kernel
from keras_bisenet.quantization import qat


class TestLight8s(FamilyTests):
    model = "fcn8s-light"
    tiny = {"alpha": 0.25}
    num_boosters = 0
    costs = {"fcn8s-light": (0.96, 5.3)}


class TestVGG16(FamilyTests):
    model = "fcn16s"
    tiny = {"alpha": 0.03}
    num_boosters = 0
    costs = {}

    def test_large_kernels_which_the_converter_rounds_have_the_same_steps(self, files, monkeypatch):
        monkeypatch.setattr(qat, "LARGE_KERNEL", 1000)
        quantized, content = files["half-pixel"]
        with qat.large_kernels_unrounded(quantized):
            other = convert_model(quantized, "int8")
        ours, theirs = (read_model_file(file).main for file in (content, other))
        large = 0
        for one, two in zip(ours.operators, theirs.operators, strict=True):
            for i, j in zip((*one.inputs, *one.outputs), (*two.inputs, *two.outputs), strict=True):
                a, b = ours.tensors[i], theirs.tensors[j]
                assert (a.shape, a.dtype) == (b.shape, b.dtype)
                np.testing.assert_allclose(a.scales, b.scales, rtol=1e-6)
                large += np.prod(a.shape) > 1000 and len(a.scales) > 1
        assert large > 5


@pytest.mark.parametrize(("stride", "skips"), [(32, []), (16, [16]), (8, [16, 8])])
def test_skips_of_figure_3(stride, skips):
    model = build_model(f"fcn{stride}s", 21, (64, 96, 3), alpha=0.03)
    names = [layer.name for layer in model.layers]
    assert [int(n.removeprefix("head_sum")) for n in names if n.startswith("head_sum")] == skips
    assert model.get_layer("head_upsample").size == (stride, stride)
    assert model.get_layer("head_score").output.shape[1:] == (2, 3, 21)
    for skip in skips:
        assert model.get_layer(f"head_sum{skip}").output.shape[1:3] == (64 // skip, 96 // skip)


def test_vgg16_has_16_layers_with_weights():
    model = build_model("fcn8s", 21, (64, 96, 3), alpha=0.03)
    layers = [layer.name for layer in model.layers if layer.name.startswith("backbone")]
    with_weights = [name for name in layers if model.get_layer(name).weights]
    assert len(with_weights) == 15  # the 16th counts ImageNet's classes: here head_score
    assert [n for n in layers if "dropout" in n] == ["backbone_fc6_dropout", "backbone_fc7_dropout"]


def test_transposed_convolutions_begin_as_bilinear_interpolation():
    kernel = bilinear_kernel(3)
    image = np.random.default_rng(0).random((1, 6, 8, 3), np.float32)
    found = tf.nn.conv2d_transpose(image, kernel, (1, 12, 16, 3), 2, "SAME")
    expected = tf.image.resize(image, (12, 16), "bilinear")
    inner = np.s_[:, 1:-1, 1:-1]  # beyond the edge the one sees zeros
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)
    model = build_model("fcn8s", 3, alpha=0.03)
    for name in ("head_up16", "head_up8"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], kernel)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_scores_may_be_enlarged_without_weights(upsampling):
    model = build_model("fcn8s-light", 5, (64, 96, 3), alpha=0.25, upsampling=upsampling)
    assert model.get_layer("head_up16").interpolation == upsampling
    assert model.output_shape == (None, 64, 96, 5)


def test_an_argument_without_meaning_is_refused():
    with pytest.raises(UsageError, match="stride must be one of .*, not 4"):
        build_model("fcn8s", 5, stride=4)


@pytest.mark.slow
def test_vgg16_costs_what_its_layers_add_up_to():
    """Of the size of the paper: half a gigabyte of weights."""
    total = cost_by_part(build_model("fcn8s", 19, (512, 1024, 3)))["total"]
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    sizes = [1, 1, 4, 4, 16, 16, 16, 64, 64, 64, 256, 256, 256]
    parameters = sum(9 * a * b + b for a, b in zip(widths, widths[1:]))
    macs = sum(9 * a * b * 512 * 1024 // s for a, b, s in zip(widths, widths[1:], sizes))
    ends = ((49 * 512, 4096, 1024), (4096, 4096, 1024), (4096, 19, 1024), (512, 19, 256))
    for inputs, outputs, size in (*ends, (256, 19, 64)):
        parameters += inputs * outputs + outputs
        macs += inputs * outputs * 512 * 1024 // size
    parameters += 2 * 16 * 19 * 19
    macs += 16 * 19 * 19 * (512 * 1024 // 1024 + 512 * 1024 // 256)
    assert total == (parameters, macs)
