import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_metadata import JSON, RECORD
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.cli import main
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.version import __version__


def run(*arguments):
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(segmenter(), RECORD))
    return path


def test_report(model):
    result = run(model, "--operators")
    assert result.exit_code == 0
    assert (
        result.output
        == f"""\
{model}: {model.stat().st_size:,} bytes, by hand

Inputs
  image  1x8x12x3  INT8  scale 0.00392156886, zero point -128

Outputs
  logits  1x4x6x5  INT8  scale 0.0199999996, zero point -128

Metadata
  model     bisenetv2
  target    coral, int8
  data set  camvid
  mIoU      0.6100 on val
  made by   keras-bisenet {__version__}
  input     8x12, pixel * 0.00392156863 + 0; scale to fit, pad right and bottom with black
  output    logits, stride 2
  classes   5
    0  #808080  Sky
    1  #804080  Road
    2  #808000  Tree
    3  #400080  Car
    4  #c08080  Sign post

  operator  count   MACs  parameters
  CONV_2D       2  3,072         137
  total         2  3,072         137

     operator  version  output   type  activation   MACs
  0  CONV_2D         3  1x4x6x4  INT8  RELU        2,592
  1  CONV_2D         3  1x4x6x5  INT8                480
"""
    )


def test_json(model, tmp_path):
    out = tmp_path / "report.json"
    result = run(model, "--json", out)
    assert result.exit_code == 0 and "CONV_2D" in result.output
    report = json.loads(out.read_text())
    assert report["metadata"] == JSON
    assert report["standard_metadata"]["min_parser_version"] == "1.5.0"
    assert report["inputs"][0]["shape"] == [1, 8, 12, 3]
    assert report["inputs"][0]["zero_points"] == [-128]
    assert (report["macs"], report["parameters"], report["subgraphs"]) == (3072, 137, 1)
    assert report["operator_counts"] == [
        {"name": "CONV_2D", "custom": False, "count": 2, "macs": 3072, "parameters": 137}
    ]
    assert "operators" not in report


def test_json_to_the_terminal(model):
    report = json.loads(run(model, "--json", "-", "--operators").output)
    assert report["operators"][0] == {
        "subgraph": 0,
        "index": 0,
        "name": "CONV_2D",
        "custom": False,
        "version": 3,
        "outputs": [{"shape": [1, 4, 6, 4], "dtype": "INT8"}],
        "fused_activation": "RELU",
        "macs": 2592,
    }


def test_a_model_of_another_program(tmp_path):
    path = tmp_path / "other.tflite"
    main_graph = Graph(
        [T("x\x1b[31m", (1, 4), signature=(-1, 4)), T("y" * 500, ())],
        [Op("edgetpu-custom-op", (0,), (1,), custom=True)],
        (0,),
        (1,),
    )
    path.write_bytes(model_bytes(main_graph, Graph([], [], (), ()), description=""))
    result = run(path, "--operators")
    assert result.exit_code == 0
    assert (
        result.output
        == f"""\
{path}: {path.stat().st_size:,} bytes

Inputs
  x\ufffd[31m  ?x4  FLOAT32

Outputs
  {"y" * 97}...  scalar  FLOAT32

  operator           count  MACs  parameters
  edgetpu-custom-op      1     0           0
  total                  1     0           0
  In 2 subgraphs, each counted once.
  What is inside custom operators is not counted.

       operator           version  output  type     activation  MACs
  0:0  edgetpu-custom-op        1  scalar  FLOAT32
"""
    )


def test_standard_metadata_of_another_program(tmp_path):
    """Shown where there is no record of ours."""
    data = add_metadata(segmenter(), RECORD)
    path = tmp_path / "model.tflite"
    path.write_bytes(data.replace(b"keras_bisenet.json", b"something_els.json"))
    lines = run(path).output.splitlines()
    assert "  name                bisenetv2" in lines
    assert any(line.startswith("  input               image; RGB image of 8x12") for line in lines)
    assert any(line.endswith("axis labels in labels.txt") for line in lines)


def test_files_that_are_no_model(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run(path)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {path}: not a TFLite model (it has no TFLite header); "
        "convert it, or copy it, again\n"
    )
    assert run(tmp_path / "none").output == f"Error: {tmp_path / 'none'}: no such file\n"
    assert run().exit_code == 2


def test_the_coral_models():
    data = os.environ.get("KERAS_BISENET_DATA")
    if not data:
        pytest.skip("KERAS_BISENET_DATA is not set to a folder that has coral_pairs/")
    paths = sorted((Path(data) / "coral_pairs").glob("*.tflite"))
    assert len(paths) == 6
    for path in paths:
        result = run(path, "--operators")
        assert result.exit_code == 0, result.output
        assert ("edgetpu-custom-op" in result.output) == path.stem.endswith("_edgetpu")
