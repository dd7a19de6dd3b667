"""`keras-bisenet check`, and what it says of any file whatever the target."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from test_metadata import RECORD
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.cli import main
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.targets.check import check

SHAPE = (1, 8, 8, 4)


def run(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(segmenter(), RECORD))
    return path


@pytest.fixture
def halfway(tmp_path):
    """RELU -> SIN -> RELU, of which the Edge TPU takes the first."""
    path = tmp_path / "halfway.tflite"
    tensors = [activation(i) for i in range(4)]
    operators = [Op("RELU", (0,), (1,), version=2), Op("SIN", (1,), (2,)), Op("RELU", (2,), (3,))]
    path.write_bytes(model_bytes(Graph(tensors, operators, (0,), (3,))))
    return path


def test_a_file_that_passes(model):
    result = run(model)  # its record says coral
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("note     prediction: said of the Edge TPU compiler 16.0 with its ")
    assert lines[-1] == "passes for coral: 2 of 2 operators run on the Edge TPU"


def test_a_file_that_falls_short(halfway):
    result = run(halfway, "--target", "coral")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    rows = [" ".join(line.split()) for line in lines[:4]]
    assert rows == [
        "operator version output type mapped reason",
        "1 SIN 1 1x8x8x4 int8 0.1 0 no SIN is not among the supported operations",
        "2 RELU 1 1x8x8x4 int8 0.1 0 no it needs the result of operator 1 (SIN), which does not "
        "map",
        "",
    ]
    assert lines[4] == (
        "error    supported-operation: operator 1: SIN does not map: SIN is not among the "
        "supported operations"
    )
    assert lines[5].strip() == "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
    assert lines[-1] == (
        "falls short for coral: 1 of 3 operators run on the Edge TPU, 2 on the CPU"
    )


def test_all_operators(halfway):
    lines = run(halfway, "--target", "coral", "--operators").output.splitlines()
    assert " ".join(lines[1].split()) == "0 RELU 2 1x8x8x4 int8 0.1 0 yes"


def test_json(halfway, tmp_path):
    file = tmp_path / "report.json"
    assert run(halfway, "--target", "coral", "--json", file).exit_code == 1
    report = json.loads(file.read_text())
    findings = report.pop("findings")
    assert report == {
        "target": "coral",
        "passed": False,
        "total": 3,
        "mapped": 1,
        "operators": [
            {
                "index": 0,
                "op": "RELU",
                "version": 2,
                "mapped": True,
                "rule": "",
                "reason": "",
                "source": "",
            },
            {
                "index": 1,
                "op": "SIN",
                "version": 1,
                "mapped": False,
                "rule": "supported-operation",
                "reason": "SIN is not among the supported operations",
                "source": "https://coral.ai/docs/edgetpu/models-intro/#supported-operations",
            },
            {
                "index": 2,
                "op": "RELU",
                "version": 1,
                "mapped": False,
                "rule": "one-partition",
                "reason": "it needs the result of operator 1 (SIN), which does not map",
                "source": "https://coral.ai/docs/edgetpu/models-intro/#compiling; "
                "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/"
                "graph_info.cc (PartitionGraphIntoIndependentNodeSubsets)",
            },
        ],
    }
    assert findings[0] == {
        "rule": "supported-operation",
        "severity": "error",
        "operator": 1,
        "message": "SIN does not map: SIN is not among the supported operations",
        "source": "https://coral.ai/docs/edgetpu/models-intro/#supported-operations",
    }
    assert [finding["severity"] for finding in findings] == ["error", "error", "note", "note"]
    result = run(halfway, "--target", "coral", "--json", "-")
    assert json.loads(result.output) == {**report, "findings": findings}


def test_the_target_is_the_files_own_or_the_cpu(model, halfway):
    assert check(model).target == "coral"
    assert check(halfway).target == "cpu"
    model.write_bytes(add_metadata(segmenter(), replace(RECORD, target="toaster")))
    assert check(model).target == "cpu"


def test_bad_usage(model, tmp_path):
    assert run(model, "--target", "toaster").exit_code == 2
    assert run(model, "--images", 3).exit_code == 2
    assert run(model, "--images", 0, "--against", tmp_path).exit_code == 2
    with pytest.raises(UsageError, match="choose one of cpu, coral, nnapi"):
        check(model, "toaster")
    result = run(tmp_path / "none.tflite")
    assert result.exit_code == 1
    assert result.output.endswith("none.tflite: no such file\n")
    with pytest.raises(UserError):
        check(tmp_path)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "notes.tflite"
    path.write_text("milk, bread")
    result = run(path, "--target", "nnapi", "--json", "-")
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "target": "nnapi",
        "passed": False,
        "total": 0,
        "mapped": 0,
        "operators": [],
        "findings": [
            {
                "rule": "file",
                "severity": "error",
                "operator": None,
                "message": "not a TFLite model (it has no TFLite header); convert it, or copy it, "
                "again",
                "source": "",
            }
        ],
    }
    assert run(path).output.endswith("falls short for cpu\n")


def test_what_a_file_says_reaches_the_terminal_without_control_characters(tmp_path):
    path = tmp_path / "model.tflite"
    operator = Op("\x1b[2J" + "x" * 300, (0,), (1,), custom=True)
    path.write_bytes(model_bytes(Graph([activation(0), activation(1)], [operator], (0,), (1,))))
    for target in ("coral", "cpu"):
        result = run(path, "--target", target)
        assert result.exit_code == 1
        assert "\x1b" not in result.output
        assert max(map(len, result.output.splitlines())) < 500


def test_without_tensorflow_a_comparison_says_what_to_install(model, tmp_path):
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed")
    result = run(model, "--against", tmp_path)
    assert result.exit_code == 1
    assert "pip install '.[train]' in a checkout" in result.output


# What is worth knowing of any file


def test_float_islands(model, tmp_path):
    path = tmp_path / "island.tflite"
    tensors = [
        activation("a"),
        T("b", SHAPE),
        T("c", SHAPE),
        activation("d"),
        activation("e"),
        T("f", SHAPE),
    ]
    operators = [
        Op("DEQUANTIZE", (0,), (1,), version=2),
        Op("SIN", (1,), (2,)),
        Op("QUANTIZE", (2,), (3,)),
        Op("RELU", (3,), (4,), version=2),
        Op("DEQUANTIZE", (4,), (5,), version=2),
    ]
    path.write_bytes(model_bytes(Graph(tensors, operators, (0,), (5,))))
    (island,) = [f for f in check(path, "nnapi").findings if f.rule == "float-island"]
    assert (island.severity, island.operator) == ("warning", 0)
    assert island.message == (
        "3 operators compute in floating point between quantized ones (DEQUANTIZE, SIN, QUANTIZE)"
    )
    assert [f.severity for f in check(path, "coral").findings if f.rule == "float-island"] == [
        "error"
    ]


def test_float_inputs_and_outputs_are_no_island(tmp_path):
    path = tmp_path / "model.tflite"
    tensors = [T("a", SHAPE), activation("b"), activation("c"), T("d", SHAPE)]
    operators = [
        Op("QUANTIZE", (0,), (1,)),
        Op("RELU", (1,), (2,), version=2),
        Op("DEQUANTIZE", (2,), (3,), version=2),
    ]
    path.write_bytes(model_bytes(Graph(tensors, operators, (0,), (3,))))
    report = check(path, "nnapi")
    assert report.passed
    assert [f.rule for f in report.findings] == ["metadata", "nnapi-deprecated", "not-8-bit"]
    assert report.findings[-1].message == ("of 3 computed tensors 1 are not 8-bit (1 float32)")


@pytest.mark.parametrize("target, severity", [("nnapi", "error"), ("cpu", "warning")])
def test_shapes_that_are_computed(tmp_path, target, severity):
    path = tmp_path / "model.tflite"
    tensors = [activation("a"), T("shape", (2,), "INT32"), activation("b", (1, 256))]
    path.write_bytes(model_bytes(Graph(tensors, [Op("RESHAPE", (0, 1), (2,))], (0, 1), (2,))))
    (finding,) = [f for f in check(path, target).findings if f.rule == "dynamic-shapes"]
    assert (finding.severity, finding.operator) == (severity, 0)


def test_inputs_that_leave_sides_open(tmp_path):
    path = tmp_path / "model.tflite"
    image = activation("a")
    image.signature = (-1, 8, 8, 4)
    path.write_bytes(
        model_bytes(Graph([image, activation("b")], [Op("RELU", (0,), (1,))], (0,), (1,)))
    )
    report = check(path, "coral")
    assert report.passed
    assert report.findings[0].message == (
        "its input leaves sides open (?x8x8x4); it is taken to be 1x8x8x4"
    )


def test_int64_outputs(tmp_path):
    path = tmp_path / "model.tflite"
    ids = T("ids", (1, 8, 8), "INT64")
    path.write_bytes(
        model_bytes(Graph([activation("a"), ids], [Op("CAST", (0,), (1,))], (0,), (1,)))
    )
    (finding,) = [f for f in check(path, "coral").findings if f.rule == "int64-output"]
    assert (finding.severity, finding.operator) == ("warning", 0)


def test_several_subgraphs(tmp_path):
    path = tmp_path / "model.tflite"
    graph = Graph([activation("a"), activation("b")], [Op("RELU", (0,), (1,))], (0,), (1,))
    path.write_bytes(model_bytes(graph, graph))
    report = check(path, "coral")
    assert (report.passed, report.total) == (True, 1)
    assert "subgraphs" in [finding.rule for finding in report.findings]


def test_a_file_without_operators(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(model_bytes(Graph([activation("a")], [], (0,), (0,))))
    report = check(path, "coral")
    assert not report.passed
    assert "empty" in [finding.rule for finding in report.findings]


def test_damaged_metadata(model):
    content = model.read_bytes()
    model.write_bytes(content[: content.rindex(b"keras_bisenet.json")])
    report = check(model, "coral")
    assert report.mapped == 2
    assert [(f.rule, f.severity) for f in report.findings] == [
        ("metadata", "error"),
        ("prediction", "note"),
    ]


def activation(name, shape=SHAPE) -> T:
    return T(str(name), shape, "INT8", None, (0.1,), (0,))
