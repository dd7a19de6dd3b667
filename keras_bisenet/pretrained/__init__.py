"""Trained models that come with the package. README.md here is their model card."""

from __future__ import annotations

from pathlib import Path

PRETRAINED = ("camvid",)
"""Names of data sets that a trained model is here for."""


def pretrained_weights(name: str) -> Path:
    """The float model, a `.keras` file: what training starts from."""
    return Path(__file__).with_name(f"{name}.keras")


def pretrained_model(name: str = "camvid") -> Path:
    """The int8 model, a `.tflite` file: what `run` and `bench` take when none is named."""
    return Path(__file__).with_name(f"{name}_int8.tflite")
