"""BiSeNet V2 in the harness; what its paper says of it is in training/test_bisenetv2.py."""

from __future__ import annotations

import pytest
from families.base import FamilyTests


class TestBiSeNetV2(FamilyTests):
    model = "bisenetv2"
    tiny = {"alpha": 0.125, "head_width": 8}
    num_boosters = 4
    costs = {"bisenetv2": (2.31, 16.0), "bisenetv2-small": (0.59, 4.1)}
    elsewhere = {"cpu": ("AVERAGE_POOL_2D",)}  # XNNPACK has none of 8 bits


@pytest.mark.slow
class TestAsInPyTorch(FamilyTests):
    """With all that `keras-bisenet import` asks for."""

    model = "bisenetv2"
    tiny = {
        "alpha": 0.125,
        "head_width": 8,
        "padding": "symmetric",
        "extra_relus": True,
        "gate_bias": True,
        "image_norm": True,
        "bga_upsampling": "nearest",
    }
    num_boosters = 4
    costs = {}
    elsewhere = {"cpu": ("AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR")}


@pytest.mark.slow
class TestAsInPaddleSeg(FamilyTests):
    """With all that `keras-bisenet import --layout paddleseg` asks for."""

    model = "bisenetv2"
    tiny = {
        "alpha": 0.125,
        "head_width": 8,
        "pool_padding": "uncounted",
        "gate_bias": True,
        "image_norm": True,
    }
    num_boosters = 4
    costs = {}
    elsewhere = {"cpu": ("AVERAGE_POOL_2D",)}
