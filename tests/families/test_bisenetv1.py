"""BiSeNet against its paper, and the harness."""

from __future__ import annotations

import pytest
from families.base import FamilyTests

from keras_bisenet.errors import UsageError
from keras_bisenet.models import build_model


class TestResNet18(FamilyTests):
    model = "bisenetv1"
    tiny = {"alpha": 0.125, "head_width": 8}
    num_boosters = 2
    costs = {"bisenetv1": (12.89, 25.9), "bisenetv1-light": (1.55, 6.9)}


@pytest.mark.slow
class TestXception39(FamilyTests):
    model = "bisenetv1-light"
    tiny = {"alpha": 0.25, "head_width": 8}
    num_boosters = 2
    costs = {}
    least_snr = 20  # 100 convolutions, one behind the other


@pytest.fixture(scope="module", params=["bisenetv1", "bisenetv1-light"])
def model(request):
    return build_model(request.param, 19, (512, 1024, 3), boosters=True)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("spatial_1_relu", (256, 512, 64)),
        ("spatial_3_relu", (64, 128, 64)),
        ("spatial_out_relu", (64, 128, 128)),
        ("context_stem_pool", (128, 256, None)),
        ("context_arm4_mul", (32, 64, 128)),
        ("context_arm5_mul", (16, 32, 128)),
        ("context_arm5_pool", (1, 1, 128)),
        ("context_tail_relu", (1, 1, 128)),
        ("context_refine4_relu", (64, 128, 128)),
        ("fusion_concat", (64, 128, 256)),
        ("fusion_gate", (1, 1, 256)),
        ("head_logits", (64, 128, 19)),
        ("booster_s4_logits", (64, 128, 19)),
        ("booster_s5_logits", (32, 64, 19)),
    ],
)
def test_output_shape(model, layer, shape):
    found = model.get_layer(layer).output.shape[1:]
    assert all(wanted in (None, side) for wanted, side in zip(shape, found)), found


def test_backbones_have_the_layers_that_their_names_count():
    """18 and 39 with a weight: the first counts its fully connected end, which is left out."""
    layers = {}
    for name in ("bisenetv1", "bisenetv1-light"):
        model = build_model(name, 19)
        layers[name] = [
            layer.name
            for layer in model.layers
            if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D")
            and layer.name.startswith(("context_stem", "context_s"))
            and "shortcut" not in layer.name
        ]
    assert len(layers["bisenetv1"]) == 17
    pointwise = [name for name in layers["bisenetv1-light"] if "depthwise" not in name]
    assert len(pointwise) == 1 + 3 * (4 + 8 + 4)
    stages = ["context_s3_4_relu", "context_s4_8_relu", "context_s5_4_relu"]
    light = build_model("bisenetv1-light", 19, (512, 1024, 3))
    shapes = [light.get_layer(name).output.shape[1:] for name in stages]
    assert shapes == [(64, 128, 64), (32, 64, 128), (16, 32, 256)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg16"}, "backbone must be one of .*, not 'vgg16'"),
        ({"upsampling": "cubic"}, "upsampling must be one of .*, not 'cubic'"),
        ({"alpha": 0}, "alpha must be positive, not 0"),
    ],
)
def test_arguments_without_meaning_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        build_model("bisenetv1", 5, **options)
