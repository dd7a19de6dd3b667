"""The package's public names: frozen, lazy, documented, and their examples run."""

from __future__ import annotations

import shutil

from api_examples import PAGE, run_examples
from first_wave import unpack

import keras_bisenet

PUBLIC = [
    "Answer",
    "LabelMap",
    "QuantizationConfig",
    "Run",
    "Segmenter",
    "TrainingConfig",
    "UsageError",
    "UserError",
    "__version__",
    "bisenetv2",
    "check",
    "compare",
    "convert",
    "load_dataset",
    "open_segmenter",
    "overlay",
    "quantize",
    "read_image",
    "score",
    "train",
]


def test_the_public_names_are_these():
    """Whoever adds or removes one changes this list, docs/api.md and CHANGELOG.md as well."""
    assert keras_bisenet.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(keras_bisenet))


def test_each_public_name_is_documented():
    page = PAGE.read_text(encoding="utf-8")
    for name in set(PUBLIC) - {"__version__"}:
        assert f"`{name}" in page or f"kb.{name}" in page, name


def test_the_examples_of_the_device_half_run(tmp_path, monkeypatch):
    folder = unpack(tmp_path / "first_wave")
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(folder / "int8.tflite", "model.tflite")
    shutil.copyfile(folder / "streets/test/street_00000.png", "street.png")
    printed, namespace = run_examples("The device half")
    assert printed[0] == "True True\n"
    assert printed[1] == "11 Sky\n"
    assert printed[2].startswith("True True\n")
    assert "nothing.tflite" in printed[3]
    assert namespace["picture"].shape == (64, 96, 3)
