"""tools/compare_edgetpu.py: what `check` predicts held against what the compiler did."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from tflite_models import Graph, Op, T, model_bytes

TOOL = Path(__file__).parents[2] / "tools" / "compare_edgetpu.py"
SHAPE = (1, 8, 8, 4)
CUSTOM = "edgetpu-custom-op"


@pytest.fixture(scope="module")
def tool():
    specification = importlib.util.spec_from_file_location("compare_edgetpu", TOOL)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where its data classes look up their types
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def compare(tool, capsys, tmp_path):
    """A function that runs the tool, and returns its exit status, output and pairs."""

    def run(*arguments):
        file = tmp_path.parent / f"{tmp_path.name}.json"
        try:
            code = tool.main([*map(str, arguments), "--json", str(file)])
        except SystemExit as end:
            return end.code, capsys.readouterr().err, None
        return code, capsys.readouterr().out, json.loads(file.read_text())

    return run


def activation(name, shape=SHAPE, dtype="INT8") -> T:
    quantization = ((0.1,), (0,)) if dtype == "INT8" else ()
    return T(str(name), shape, dtype, None, *quantization)


def chain(*names, custom=(), floats=False) -> bytes:
    """Operators of one input, one after the other, their tensors named as in the whole chain."""
    places = range(len(names) + 1)
    ends = (0, len(names)) if floats else ()
    tensors = [activation(i, dtype="FLOAT32" if i in ends else "INT8") for i in places]
    operators = [
        Op(name, (i,), (i + 1,), custom=name in custom, version=1) for i, name in enumerate(names)
    ]
    return model_bytes(Graph(tensors, operators, (0,), (len(names),)))


def compiled(*rest, mapped: int, total: int, first: int = 0, floats=False) -> bytes:
    """What the compiler writes: one operator for `mapped` of a chain of `total`, and the rest."""
    ends = (0, total) if floats else ()
    tensors = [activation(i, dtype="FLOAT32" if i in ends else "INT8") for i in range(total + 1)]
    before = [Op(name, (i,), (i + 1,)) for i, name in enumerate(rest[:first])]
    behind = [Op(name, (i,), (i + 1,)) for i, name in enumerate(rest[first:], start=first + mapped)]
    tpu = [Op(CUSTOM, (first,), (first + mapped,), custom=True)] if mapped else []
    return model_bytes(Graph(tensors, [*before, *tpu, *behind], (0,), (total,)))


def write(folder: Path, name: str, source: bytes, result: bytes | str) -> None:
    (folder / f"{name}.tflite").write_bytes(source)
    if isinstance(result, str):
        (folder / f"{name}_edgetpu.log").write_text(result)
    else:
        (folder / f"{name}_edgetpu.tflite").write_bytes(result)


LOG = """Edge TPU Compiler version 16.0.384591198
Input: part.tflite
Output: part_edgetpu.tflite

Operator                       Count      Status

RELU                           1          Mapped to Edge TPU
RELU                           1          More than one subgraph is not supported
SIN                            1          Operation not supported
"""


def test_pairs_by_kind(compare, tmp_path):
    write(tmp_path, "whole", chain("RELU", "TANH"), compiled(mapped=2, total=2))
    (tmp_path / "more").mkdir()
    write(
        tmp_path / "more",
        "edges",
        chain("QUANTIZE", "RELU", "DEQUANTIZE", floats=True),
        compiled("QUANTIZE", "DEQUANTIZE", mapped=1, total=3, first=1, floats=True),
    )
    write(tmp_path, "nothing", chain("SIN"), compiled("SIN", mapped=0, total=1))
    write(
        tmp_path, "part", chain("RELU", "SIN", "RELU"), compiled("SIN", "RELU", mapped=1, total=3)
    )
    write(
        tmp_path,
        "custom",
        chain("RELU", "Decoder", custom=("Decoder",)),
        chain(CUSTOM, "Decoder", custom=(CUSTOM, "Decoder")),
    )
    write(tmp_path, "logged", chain("TANH", "SIN", "TANH"), LOG.replace("RELU", "TANH"))
    # A second copy of a pair says no more than the first.
    write(tmp_path / "more", "copy", chain("RELU", "TANH"), compiled(mapped=2, total=2))
    code, printed, found = compare(tmp_path)
    assert code == 0
    assert printed.splitlines() == [
        "| what the compiler did | pairs | exact | towards the CPU | towards the Edge TPU |",
        "|---|---|---|---|---|",
        "| mapped everything | 1 | 1 | 0 | 0 |",
        "| left only QUANTIZE and DEQUANTIZE of float inputs and outputs | 1 | 1 | 0 | 0 |",
        "| left only custom operators (and such QUANTIZE and DEQUANTIZE) | 1 | 1 | 0 | 0 |",
        "| mapped nothing | 1 | 1 | 0 | 0 |",
        "| mapped a part, and left other operators | 2 | 2 | 0 | 0 |",
        "| together | 6 | 6 | 0 | 0 |",
    ]
    assert found["left_out"] == []
    assert [pair["left"] for pair in found["pairs"] if pair["name"] == "logged_edgetpu.log"] == [
        {"TANH": 1, "SIN": 1}
    ]


def test_the_source_is_the_closest_of_its_name(compare, tmp_path):
    """As in a folder of several repositories, some of which keep compiled files apart."""
    for name, operator in (("one", "RELU"), ("two", "SIN")):
        (tmp_path / name / "compiled").mkdir(parents=True)
        (tmp_path / name / "model.tflite").write_bytes(chain(operator))
        result = compiled(mapped=1, total=1) if name == "one" else chain(operator)
        (tmp_path / name / "compiled" / "model_edgetpu.tflite").write_bytes(result)
    # Of two that are equally far neither is taken.
    (tmp_path / "one" / "a").mkdir()
    (tmp_path / "one" / "a" / "twice.tflite").write_bytes(chain("TANH"))
    (tmp_path / "two" / "twice.tflite").write_bytes(chain("TANH"))
    (tmp_path / "twice-edgetpu.tflite").write_bytes(compiled(mapped=1, total=1))
    _, _, found = compare(tmp_path)
    assert [(pair["name"], pair["kind"]) for pair in found["pairs"]] == [
        ("one/compiled/model_edgetpu.tflite", "mapped everything"),
        ("two/compiled/model_edgetpu.tflite", "mapped nothing"),
    ]


def test_misses_are_told_with_their_direction(compare, tmp_path):
    # The compiler left a TANH that check says maps, and mapped a SIN that check says does not.
    write(tmp_path, "a", chain("RELU", "TANH"), compiled("TANH", mapped=1, total=2))
    write(tmp_path, "b", chain("RELU", "SIN"), compiled(mapped=2, total=2))
    code, printed, found = compare(tmp_path)
    assert code == 1
    assert [(pair["name"], pair["result"]) for pair in found["pairs"]] == [
        ("a_edgetpu.tflite", "towards the Edge TPU"),
        ("b_edgetpu.tflite", "towards the CPU"),
    ]
    assert printed.split("\n\n")[1:] == [
        "towards the Edge TPU:\n"
        "  a_edgetpu.tflite\n"
        "    the compiler left 1 TANH\n"
        "    check predicts    nothing",
        "towards the CPU:\n"
        "  b_edgetpu.tflite\n"
        "    the compiler left nothing\n"
        "    check predicts    1 SIN\n"
        "    SIN: SIN is not among the supported operations\n",
    ]


def test_the_same_number_of_another_operator_is_a_miss(compare, tmp_path):
    """Two RELUs, of which one is left: by their outputs, not by their count."""
    source = chain("RELU", "SIN", "RELU")
    other = model_bytes(
        Graph(
            [activation(i) for i in range(4)],
            [
                Op("RELU", (0,), (1,)),
                Op("SIN", (1,), (2,)),
                Op(CUSTOM, (2,), (3,), custom=True),
            ],
            (0,),
            (3,),
        )
    )
    write(tmp_path, "a", source, other)
    code, _, found = compare(tmp_path)
    assert code == 1 and found["pairs"][0]["left"] == found["pairs"][0]["predicted"]


def test_what_is_no_pair_is_left_out(compare, tmp_path):
    several = model_bytes(
        Graph(
            [activation(i) for i in range(4)],
            [
                Op(CUSTOM, (0,), (1,), custom=True),
                Op("SIN", (1,), (2,)),
                Op(CUSTOM, (2,), (3,), custom=True),
            ],
            (0,),
            (3,),
        )
    )
    write(tmp_path, "a_flags", chain("RELU", "SIN", "RELU"), several)
    larger = model_bytes(
        Graph(
            [activation(0, (1, 9, 9, 4)), activation(1, (1, 9, 9, 4))],
            [Op(CUSTOM, (0,), (1,), custom=True)],
            (0,),
            (1,),
        )
    )
    write(tmp_path, "b_other", chain("RELU"), larger)
    write(tmp_path, "c_log", chain("RELU"), LOG)
    write(tmp_path, "d_failed", chain("RELU"), "Internal compiler error. Aborting!\n")
    write(tmp_path, "e_damaged", chain("RELU"), b"nothing")
    (tmp_path / "alone.tflite").write_bytes(chain("RELU"))
    code, printed, found = compare(tmp_path)
    assert code == 0 and found["pairs"] == []
    reasons = [entry["reason"] for entry in found["left_out"]]
    assert reasons[:4] == [
        "2 partitions: compiled with other flags",
        "compiled from another file: its inputs or outputs differ",
        "the log of another file: it counts other operators",
        "the log names no operator: the compilation failed, or it was cut off",
    ]
    assert "e_damaged_edgetpu.tflite: not a TFLite model" in reasons[4]
    assert "left out:\n  a_flags_edgetpu.tflite: 2 partitions" in printed


def test_bad_usage(compare, tmp_path):
    assert compare()[0] == 2
    code, error, _ = compare(tmp_path / "none")
    assert code == 2 and error.startswith(f"Error: {tmp_path / 'none'}: no such folder")


def test_the_pairs_of_the_shared_data(compare):
    if "KERAS_BISENET_DATA" not in os.environ:
        pytest.skip("set KERAS_BISENET_DATA to the folder that holds coral_pairs")
    code, printed, _ = compare(Path(os.environ["KERAS_BISENET_DATA"], "coral_pairs"))
    assert code == 0
    assert printed.splitlines()[-1] == "| together | 3 | 3 | 0 | 0 |"
