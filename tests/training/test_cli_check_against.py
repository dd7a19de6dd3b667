"""`keras-bisenet check --against RUN`: what it says of a file beside its run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from tflite_models import segmenter

from keras_bisenet.cli import main
from keras_bisenet.cli.check import _lines
from keras_bisenet.export.compare import Comparison
from keras_bisenet.export.convert import convert
from keras_bisenet.export.layer_noise import LayerNoise
from keras_bisenet.label_map import LabelMap
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.lite.record import DeploymentRecord
from keras_bisenet.targets.check import Finding, check

RECORD = DeploymentRecord(
    model="bisenetv2",
    target="coral",
    precision="int8",
    dataset="camvid",
    label_map=LabelMap(("Sky", "Road", "Car"), ((128, 128, 128), (128, 64, 128), (64, 0, 128))),
    input_height=8,
    input_width=12,
    output_kind="logits",
    output_stride=2,
)


def run(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(segmenter(), RECORD))
    return path


@pytest.mark.slow
def test_against_a_run(request, tmp_path):
    qat_run = request.getfixturevalue("qat_run")
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(qat_run))
    result = run(path, "--against", qat_run.path, "--images", 2, "--json", "-")
    report = json.loads(result.output)
    assert report["against"]["images"] == 2
    assert report["against"]["is_twin"]
    assert report["passed"] == report["against"]["passed"] == (result.exit_code == 0)


def test_a_comparison_that_falls_short(model):
    comparison = Comparison(
        images=3,
        split="test",
        agreement=0.9,
        miou_file=0.55,
        miou_run=0.6,
        largest_difference=9.0,
        mean_difference=0.5,
        is_twin=True,
    )
    report = check(model).with_findings(
        Finding("against", "error", shortcoming) for shortcoming in comparison.shortcomings()
    )
    lines = _lines(report, comparison, False)
    assert [line.split(": ")[0] for line in lines[:2]] == ["error    against"] * 2
    assert lines[5] == (
        "against the run, 3 images of test: mIoU 0.5500 against 0.6000, 90.00% of the pixels agree"
    )
    assert lines[-1].startswith("falls short for coral: 2 of 2")


def test_few_pixels_that_agree_are_told(model, monkeypatch):
    """A file that was quantized after the training passes by its mIoU, which is low in both."""
    comparison = Comparison(
        images=3,
        split="val",
        agreement=0.6035,
        miou_file=0.05,
        miou_run=0.05,
        largest_difference=9.0,
        mean_difference=0.5,
        is_twin=False,
    )
    monkeypatch.setattr("keras_bisenet.cli.check._compare", lambda *arguments: comparison)
    result = run(model, "--against", "run")
    assert result.exit_code == 0, result.output
    assert "warning  against: 60.35% of the pixels alone agree with the run" in result.output
    assert replace(comparison, agreement=0.95).remarks() == []
    assert replace(comparison, is_twin=True).remarks() == []  # a shortcoming


def test_the_worst_layers_come_first(model):
    layers = [LayerNoise(f"layer_{i}", i, "CONV_2D", 3.0 + i, 2.0 + i / 2) for i in range(11)]
    layers.append(LayerNoise("pool", 11, "MAX_POOL_2D", None, 20.0))
    comparison = Comparison(
        images=3,
        split="val",
        agreement=1.0,
        miou_file=0.6,
        miou_run=0.6,
        largest_difference=1.0,
        mean_difference=0.1,
        is_twin=True,
        layers=tuple(layers),
        operators=13,
    )
    lines = _lines(check(model), comparison, False)[3:]  # behind what is said of the prediction
    assert lines[:3] == [
        "signal-to-noise by layer against the run's float model, the 10 worst of 12 (13 "
        "operators):",
        "layer       operator      own  in all",
        "layer_0  0  CONV_2D    3.0 dB  2.0 dB",
    ]
    assert lines[11].startswith("layer_9  9  CONV_2D   12.0 dB") and lines[12] == ""
    lines = _lines(check(model), replace(comparison, layers=comparison.layers[-1:]), False)
    assert lines[5] == "pool   11  MAX_POOL_2D  exact  20.0 dB"
    found = comparison.to_json()
    assert found["operators"] == 13 and found["passed"]
    assert found["layers"][-1] == {
        "layer": "pool",
        "operator": 11,
        "op": "MAX_POOL_2D",
        "own": None,
        "total": 20.0,
    }
    json.dumps(found)
