"""`keras-bisenet bench`, by its table and its JSON."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tflite_tiny import network, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.cli.bench import command
from keras_bisenet.runtime.bench import measure, synthetic_image
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.runtime.segmenter import Segmenter


@pytest.fixture
def models(tmp_path):
    (tmp_path / "small.tflite").write_bytes(tiny_model((32, 64), stride=8))
    (tmp_path / "large.tflite").write_bytes(network((512, 512), precision="float32"))
    return [str(tmp_path / name) for name in ("small.tflite", "large.tflite")]


def test_models_side_by_side(tmp_path, models):
    out = tmp_path / "figures" / "bench.json"
    args = [*models, "--threads", 1, "--runs", 4, "--warmup", 1, "--json", out]
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{runtime_name()}, 1 thread, ")
    assert f"{models[0]}  32x64 int8" in result.output
    assert f"{models[1]}  512x512 float32" in result.output
    assert result.output.count("1.00 x the first") >= 2

    report = json.loads(out.read_text())
    assert report["runtime"] == runtime_name()
    assert (report["threads"], report["runs"], report["warmup"]) == (1, 4, 1)
    assert report["cpu"]
    small, large = report["models"]
    assert small["path"] == models[0] and small["precision"] == "int8"
    assert small["bytes"] == len(tiny_model((32, 64), stride=8))
    assert small["input"] == {"height": 32, "width": 64, "dtype": "int8"}
    assert large["image"] == {"height": 512, "width": 512} and large["precision"] is None
    for figures in (small, large):
        for stage in ("prepare", "invoke", "finish", "total"):
            times = figures[stage]
            assert 0 < times["min"] <= times["median"] <= times["p90"] <= times["max"]
        assert figures["total"]["min"] >= figures["invoke"]["min"]
    assert small["total"]["ratio_to_first"] == 1
    assert large["total"]["ratio_to_first"] == pytest.approx(
        large["total"]["median"] / small["total"]["median"]
    )
    assert large["total"]["ratio_to_first"] > 1  # 128 times the pixels


def test_models_take_turns_and_the_warm_up_is_left_out(models):
    calls = []

    class Noted(Segmenter):
        def segment(self, image):
            answer = super().segment(image)
            calls.append((self.info.size, image.shape[:2], answer.timings))
            return answer

    segmenters = [Noted(model) for model in models]
    images = [synthetic_image((48, 80)), synthetic_image((64, 64))]
    timings = measure(segmenters, images, runs=2, warmup=1)
    turn = [((32, 64), (48, 80)), ((512, 512), (64, 64))]
    assert [call[:2] for call in calls] == turn * 3
    assert timings == [[calls[2][2], calls[4][2]], [calls[3][2], calls[5][2]]]


def test_one_model_on_a_given_image(tmp_path, models):
    Image.new("RGB", (100, 50), (200, 0, 0)).save(tmp_path / "photo.png")
    out = tmp_path / "bench.json"
    args = ["bench", models[0], "--image", tmp_path / "photo.png", "--runs", 1, "--warmup", 0]
    result = CliRunner().invoke(main, [str(arg) for arg in (*args, "--json", out)])
    assert result.exit_code == 0, result.output
    assert "x the first" not in result.output
    assert json.loads(out.read_text())["models"][0]["image"] == {"height": 50, "width": 100}


def test_the_generated_image_is_always_the_same():
    image = synthetic_image((48, 80))
    assert image.shape == (48, 80, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, synthetic_image((48, 80)))
    assert image.std() > 20


def test_errors_are_one_line(tmp_path, models):
    (tmp_path / "text.tflite").write_text("no model at all")
    for args, code, message in (
        ([tmp_path / "text.tflite"], 1, "text.tflite: not a TFLite model"),
        ([models[0], tmp_path / "none.tflite"], 1, "none.tflite: no such file"),
        ([models[0], "--image", tmp_path / "none.png"], 1, "none.png: No such file"),
        ([models[0], "--delegate", "edgetpu"], 1, "install the Edge TPU runtime"),
    ):
        result = CliRunner().invoke(main, ["bench", *(str(arg) for arg in args)])
        assert result.exit_code == code, result.output
        assert message in result.output and result.output.count("\n") == 1
    assert CliRunner().invoke(main, ["bench"]).exit_code == 2
    assert CliRunner().invoke(main, ["bench", models[0], "--runs", "0"]).exit_code == 2
