"""Damaged and hostile files end in a verdict, soon and without much memory."""

from __future__ import annotations

import json
import random
import struct
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from test_metadata import RECORD
from tflite_models import Graph, Op, T, model_bytes, needs_a_runtime_that_allocates, segmenter

from keras_bisenet.cli import main
from keras_bisenet.lite.metadata import add_metadata

SECONDS = 10
MEMORY = 1 << 30

EXTREMES = (0, 1, 2, 255, 4096, 65535, 65536, 100000, 1 << 24, 2**31 - 1, 2**31, 2**32 - 1)
"""Values that lengths, offsets, indices and sizes are overwritten with."""


def network() -> bytes:
    """Pooling, a branch, concatenation, a resize and argmax, in 8 bits."""
    size = T("size", (2,), "INT32", int32(16, 24))
    axis = T("axis", (), "INT32", int32(3)[0])
    tensors = [
        activation("image", (1, 8, 12, 4)),
        activation("a", (1, 8, 12, 4)),
        activation("b", (1, 8, 12, 4)),
        activation("c", (1, 8, 12, 8)),
        size,
        activation("d", (1, 16, 24, 8)),
        axis,
        T("ids", (1, 16, 24), "INT32"),
    ]
    pool = {"StrideW": 1, "StrideH": 1, "FilterWidth": 3, "FilterHeight": 3}
    operators = [
        Op("MAX_POOL_2D", (0,), (1,), "Pool2DOptions", pool, 2),
        Op("RELU", (0,), (2,), version=2),
        Op("CONCATENATION", (1, 2), (3,), "ConcatenationOptions", {"Axis": 3}, 2),
        Op("RESIZE_BILINEAR", (3, 4), (5,), "ResizeBilinearOptions", {}, 2),
        Op("ARG_MAX", (5, 6), (7,), "ArgMaxOptions", {"OutputType": 2}, 2),
    ]
    return model_bytes(Graph(tensors, operators, (0,), (7,)))


def activation(name, shape) -> T:
    return T(name, shape, "INT8", None, (0.1,), (0,))


def int32(*values):
    return np.array(values, np.int32)


VALID = {
    "int8": segmenter("INT8"),
    "uint8": segmenter("UINT8"),
    "float32": segmenter("FLOAT32"),
    "with metadata": add_metadata(segmenter("INT8"), RECORD),
    "network": network(),
}


def damaged(valid: bytes, rng: random.Random) -> bytes:
    data = bytearray(valid)
    kind = rng.choice(("flipped", "cut", "out of range", "out of range"))
    if kind == "flipped":
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(0, len(data) - 4, 4)
            data[place : place + 4] = struct.pack("<I", rng.choice(EXTREMES))
    return bytes(data)


@pytest.mark.parametrize("name", VALID)
def test_the_files_are_valid_before_they_are_damaged(name, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(VALID[name])
    result = CliRunner().invoke(main, ["check", str(path), "--target", "cpu"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("part", range(4))
def test_damaged_files_end_in_a_verdict(part, tmp_path):
    judge(range(15 * part, 15 * part + 15), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_thousand_damaged_files_end_in_a_verdict(part, tmp_path):
    judge(range(1000 + 100 * part, 1100 + 100 * part), tmp_path)


def judge(seeds: range, folder) -> None:
    path = folder / "model.tflite"
    for seed in seeds:
        rng = random.Random(seed)
        path.write_bytes(damaged(rng.choice(list(VALID.values())), rng))
        target = rng.choice(("cpu", "cpu", "coral", "nnapi"))
        verdict(path, target, f"seed {seed}")


def verdict(path, target: str, what: str) -> dict:
    started, held = time.monotonic(), largest_memory()
    report_file = path.with_suffix(".json")
    arguments = ["check", str(path), "--target", target, "--json", str(report_file)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 1), (what, result.exception)
    assert not result.exception or isinstance(result.exception, SystemExit), what
    report = json.loads(report_file.read_text())
    assert report["passed"] == (result.exit_code == 0), what
    assert report["passed"] == all(f["severity"] != "error" for f in report["findings"]), what
    assert time.monotonic() - started < SECONDS, what
    # Other tests of this process may have held much before: a command adds little to it.
    assert largest_memory() < max(MEMORY, held + MEMORY // 8), what
    return report


def largest_memory() -> int:
    """Bytes that this process, or the largest that it started, has held at most."""
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


@needs_a_runtime_that_allocates
def test_shapes_that_ask_for_terabytes(tmp_path):
    sides = (1, 1 << 20, 1 << 20, 4)
    graph = Graph(
        [activation("a", sides), activation("b", sides)], [Op("RELU", (0,), (1,))], (0,), (1,)
    )
    (tmp_path / "model.tflite").write_bytes(model_bytes(graph))
    report = verdict(tmp_path / "model.tflite", "cpu", "terabytes")
    assert not report["passed"]


@pytest.mark.parametrize("target", ["cpu", "coral", "nnapi"])
def test_thousands_of_operators_that_alternate(tmp_path, target):
    count = 5000
    tensors = [activation(str(i), (1, 2)) for i in range(count + 1)]
    operators = [Op("RELU" if i % 2 else "SIN", (i,), (i + 1,)) for i in range(count)]
    (tmp_path / "model.tflite").write_bytes(model_bytes(Graph(tensors, operators, (0,), (count,))))
    assert verdict(tmp_path / "model.tflite", target, target)["total"] == count


@pytest.mark.parametrize("target", ["cpu", "coral", "nnapi"])
def test_a_name_that_is_repeated_by_every_operator(tmp_path, target):
    count, name = 2000, "x" * 200_000
    tensors = [activation(str(i), (1, 2)) for i in range(count + 1)]
    operators = [Op(name, (0,), (1,), custom=True)] + [
        Op("RELU", (i,), (i + 1,), code_index=0) for i in range(1, count)
    ]
    (tmp_path / "model.tflite").write_bytes(model_bytes(Graph(tensors, operators, (0,), (count,))))
    report = verdict(tmp_path / "model.tflite", target, target)
    assert len(json.dumps(report)) < 4_000_000


def test_a_constant_that_every_operator_reads(tmp_path):
    zeros = T("zeros", (1, 1 << 20), "INT8", np.zeros(1 << 20, np.int8), (0.1,), (0,))
    count = 2000
    tensors = [activation("in", (1, 2)), zeros]
    tensors += [activation(str(i), (1, 2)) for i in range(count)]
    operators = [
        Op("CONCATENATION", (0, 1), (i + 2,), "ConcatenationOptions") for i in range(count)
    ]
    (tmp_path / "model.tflite").write_bytes(model_bytes(Graph(tensors, operators, (0,), (2,))))
    verdict(tmp_path / "model.tflite", "coral", "constant")
