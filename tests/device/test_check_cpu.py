"""What XNNPACK takes, by the runtime's own account."""

from __future__ import annotations

import sys

import pytest
from tflite_models import Graph, Op, T, model_bytes, needs_a_runtime_that_allocates, segmenter

from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.targets import cpu
from keras_bisenet.targets.check import check

needs_8_bit_xnnpack = pytest.mark.skipif(
    runtime_name().startswith("tflite-runtime"),
    reason="tflite-runtime is built without XNNPACK's 8-bit operators",
)


@pytest.mark.parametrize("dtype", [pytest.param("INT8", marks=needs_8_bit_xnnpack), "FLOAT32"])
def test_xnnpack_takes_convolutions(tmp_path, dtype):
    (tmp_path / "model.tflite").write_bytes(segmenter(dtype))
    report = check(tmp_path / "model.tflite", "cpu")
    assert report.passed
    assert (report.mapped, report.total) == (2, 2)


@needs_8_bit_xnnpack
def test_what_xnnpack_lacks_has_a_reason():
    pool = {"StrideW": 1, "StrideH": 1, "FilterWidth": 2, "FilterHeight": 2, "Padding": 1}
    answers = T("logistic", (1, 7, 7, 4), "INT8", None, (1 / 256,), (-128,))
    model = model_bytes(
        Graph(
            [activation("a"), activation("b", (1, 7, 7, 4)), answers],
            [
                Op("AVERAGE_POOL_2D", (0,), (1,), "Pool2DOptions", pool, version=2),
                Op("LOGISTIC", (1,), (2,), version=2),
            ],
            (0,),
            (2,),
        )
    )
    assessment = cpu.assess(read_model_file(model))
    refusal, taken = assessment.refusals
    assert refusal.reason == "XNNPACK has no 8-bit AVERAGE_POOL_2D"
    assert taken is None
    note = assessment.findings[0]
    assert (note.severity, note.operator) == ("note", 0)


def test_a_runtime_without_8_bit_operators_is_named():
    model = read_model_file(segmenter())
    (node, _) = cpu.nodes(model)
    refusal = cpu._refusal(node, False, "tflite-runtime 2.14.0")
    assert refusal.rule == "no-8-bit-xnnpack"


def test_what_a_delegate_took_is_what_lies_between_its_inputs_and_outputs():
    # 0 -a-> 1 -b-> 2 -c-> 3, and 1 -d-> 4, which nobody reads
    tensors = [activation(i) for i in range(6)]
    operators = [Op("RELU", (i,), (i + 1,)) for i in range(4)] + [Op("RELU", (2,), (5,))]
    graph = read_model_file(model_bytes(Graph(tensors, operators, (0,), (4,)))).main
    middle = (frozenset({1}), (3,))
    assert cpu._delegated(graph, [middle]) == [False, True, True, False, None]
    ends = [(frozenset({0}), (1,)), (frozenset({3}), (4,))]
    assert cpu._delegated(graph, ends) == [True, False, False, True, None]
    assert cpu._delegated(graph, []) == [False] * 5


def test_custom_operators_do_not_open(tmp_path):
    operator = Op("MadeUp\x1b[2J", (0,), (1,), custom=True)
    model = model_bytes(Graph([activation("a"), activation("b")], [operator], (0,), (1,)))
    (tmp_path / "model.tflite").write_bytes(model)
    report = check(tmp_path / "model.tflite", "cpu")
    assert not report.passed
    assert {f.rule for f in report.findings} >= {"runtime", "custom-operators"}
    assert str(tmp_path) not in report.findings[0].message


@needs_a_runtime_that_allocates
def test_a_file_that_asks_for_all_the_memory():
    huge = (1, 1 << 15, 1 << 15, 16)
    model = model_bytes(
        Graph([activation("a", huge), activation("b", huge)], [Op("RELU6", (0,), (1,))], (0,), (1,))
    )
    answer = cpu.ask_runtime(read_model_file(model))
    assert answer.error
    assert not answer.delegates


def test_a_runtime_that_waits_too_long(monkeypatch):
    monkeypatch.setattr(cpu, "TIME_LIMIT", 0.01)
    answer = cpu.ask_runtime(read_model_file(segmenter()))
    assert answer.error == "the runtime did not open it within 0.01 seconds"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on a process")
def test_a_runtime_that_works_too_long(monkeypatch):
    """The processor's seconds count: those of a busy machine's clock say nothing of a file."""
    endless = "import sys; sys.path[:] = sys.argv[2:]; from keras_bisenet.targets import cpu; "
    endless += "cpu.CPU_LIMIT = 1; cpu._limit_resources(0)\nwhile True: pass"
    monkeypatch.setattr(cpu, "_CHILD", endless)
    answer = cpu.ask_runtime(read_model_file(segmenter()))
    assert answer.error == "the runtime takes too long to open it"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"runtime": 1}', b"7"])
def test_a_runtime_that_crashes(content):
    answer = cpu._read_answer(content, -11)
    assert answer.error == "the runtime crashed on this file (signal 11)"


def test_the_file_may_be_gone_by_now(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(segmenter("FLOAT32"))
    model = read_model_file(path)
    path.unlink()
    assert not cpu.ask_runtime(model).error


def activation(name, shape=(1, 8, 8, 4)) -> T:
    return T(str(name), shape, "INT8", None, (0.1,), (0,))
