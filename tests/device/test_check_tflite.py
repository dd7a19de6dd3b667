"""tools/check_tflite.py, as it is run on a device: on its own, beside a model."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import _imaging
from standin import compiled
from tflite_tiny import tiny_model

from keras_bisenet.runtime.golden import write_with_golden
from keras_bisenet.runtime.interpreter import runtime_name

TOOL = Path(__file__).parents[2] / "tools" / "check_tflite.py"
SIZE = (32, 48)

# BiSeNet V2 with alpha 0.125, and what ai-edge-litert 2.3.0 answered on x86-64.
MODEL = Path(__file__).parents[1] / "golden" / "bisenetv2_tiny_int8.tflite"


@pytest.fixture(scope="module")
def tool():
    """The program as a module: starting it anew for each test would take half a second each."""
    specification = importlib.util.spec_from_file_location("check_tflite", TOOL)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def check(tool, capsys):
    """A function that runs the tool, and returns its exit status, output and errors."""

    def run(*arguments):
        try:
            code = tool.main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def refusal(check):
    """A function that runs the tool, and returns its exit status and the one line it printed."""

    def run(*arguments):
        code, printed, error = check(*arguments)
        assert printed == "" and error.endswith("\n") and error.count("\n") == 1
        return code, error[:-1]

    return run


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    write_with_golden(path, tiny_model(SIZE))
    return path


def change(model, **changes):
    """Changes arrays of a model's golden file by functions of them."""
    path = model.with_suffix(".golden.npz")
    with np.load(path) as file:
        arrays = dict(file)
    for name, function in changes.items():
        arrays[name] = np.asarray(function(arrays[name]))
    np.savez(path, **arrays)


def test_the_reference_kernels_give_the_bytes_of_another_machine():
    """As a user runs it, with nothing of this project to import."""
    command = [sys.executable, "-I", TOOL, MODEL, "--repeat", "5", "--threads", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "passes")
    assert lines[0] == (
        f"{MODEL}: 3 golden inputs of 64x96, answered by ai-edge-litert 2.3.0 on x86_64"
    )
    assert lines[1].startswith(f"here: {runtime_name()} on ") and lines[1].endswith("1 threads")
    assert lines[2] == "reference kernels  passes  the same bytes"
    assert lines[3].startswith("fast kernels       passes  ")
    assert lines[4].startswith("latency            p50 ") and "(5 inferences)" in lines[4]


def test_what_a_program_reads(check, model, tmp_path):
    file = tmp_path / "report.json"
    code, printed, _ = check(model, "--repeat", 3, "--json", file)
    report = json.loads(file.read_text())
    assert code == 0 and printed.endswith("passes\n")
    latency = report.pop("latency_ms")
    assert latency["runs"] == 3 and 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    same = {
        "same_bytes": True,
        "differing_bytes": 0.0,
        "largest_difference": 0.0,
        "same_class": 1.0,
        "agreement": 1.0,
        "halves": {"upper": 1.0, "lower": 1.0, "left": 1.0, "right": 1.0},
        "passed": True,
    }
    assert report["comparisons"] == [
        {"kernels": "reference", **same},
        {"kernels": "fast", **same},
    ]
    assert (report["passed"], report["inputs"], report["size"]) == (True, 3, list(SIZE))
    assert (report["runtime"], report["delegate"]) == (runtime_name(), None)
    code, printed, _ = check(model, "--repeat", 0, "--json", "-")
    assert {**report, **json.loads(printed), "threads": 0} == {
        **report,
        "latency_ms": None,
        "threads": 0,
    }


def test_a_slow_device_may_replay_fewer_inputs(check, model):
    def third_is_wrong(answers):
        answers[2] ^= -1
        return answers

    change(model, reference=third_is_wrong, fast=third_is_wrong)
    assert check(model, "--repeat", 0)[0] == 1
    code, printed, _ = check(model, "--repeat", 0, "--inputs", 2)
    assert code == 0 and f"{model}: 2 golden inputs of 32x48" in printed
    assert check(model, "--repeat", 0, "--inputs", 9)[0] == 1  # there are three


def test_one_byte_is_enough_to_fail(check, model):
    def one_bit(answers):
        answers[1, 5, 7, 2] ^= 1
        return answers

    change(model, reference=one_bit, fast=one_bit)
    code, printed, _ = check(model, "--repeat", 0)
    reference, fast, verdict = printed.splitlines()[2:]
    assert (code, verdict) == (1, "falls short")
    assert reference.split(maxsplit=3)[2:] == [
        "FAILS",
        "0.01% of the values differ, by 1 at most; same class 100.00%, same or tied 100.00%",
    ]
    assert fast.split()[2] == "passes"


def test_other_classes_fail_whatever_the_kernels(check, model):
    others = {"reference": lambda answers: np.roll(answers, 1, axis=-1)}
    change(model, **others, fast=lambda answers: answers ^ 1)
    code, printed, _ = check(model, "--repeat", 0, "--json", "-")
    report = json.loads(printed)
    assert code == 1 and not report["passed"]
    for comparison in report["comparisons"]:
        assert not comparison["passed"]
        assert comparison["same_class"] <= comparison["agreement"] < 0.5


def test_the_same_bytes_pass_where_the_two_kernels_give_other_classes(check, model):
    """As of a model that is unsure, on the very machine where it was made."""
    others = {"reference": lambda answers: np.roll(answers, 1, axis=-1)}
    change(model, **others, exact=lambda _: False)
    comparisons = json.loads(check(model, "--repeat", 0, "--json", "-")[1])["comparisons"]
    reference, fast = comparisons
    assert not reference["passed"]
    assert fast["same_bytes"] and fast["agreement"] < 0.5 and fast["passed"]


def test_a_tie_is_no_other_class(check, model):
    """A class within 1/64 of the range all but won: 4 steps of 255, not 5."""

    def level(steps):
        def answers(found):
            others = np.full_like(found, -128)
            winners = found.argmax(axis=-1)[..., None]
            np.put_along_axis(others, (winners + 1) % 4, 127, axis=-1)
            np.put_along_axis(others, winners, 127 - steps, axis=-1)
            return others

        return answers

    for steps, agreement in ((3, 1.0), (4, 0.0)):  # 255 / 64 is a little less than 4
        write_with_golden(model, tiny_model(SIZE))
        change(model, reference=level(steps), exact=lambda _: False)
        report = json.loads(check(model, "--repeat", 0, "--json", "-")[1])
        for comparison in report["comparisons"]:
            assert (comparison["same_class"], comparison["agreement"]) == (0.0, agreement)


@pytest.mark.parametrize(("precision", "kind"), [("float32", "logits"), ("int8", "class_ids")])
def test_other_kinds_of_models(check, tmp_path, precision, kind):
    path = tmp_path / "model.tflite"
    write_with_golden(path, tiny_model(SIZE, precision=precision, kind=kind))
    change(path, fast=lambda answers: answers + answers.dtype.type(1))
    code, printed, _ = check(path, "--repeat", 0)
    assert code == 0
    assert "fast kernels       passes  100.00% of the values differ, by 1 at most" in printed


def test_the_golden_file_of_another_model_is_refused(refusal, model, tmp_path):
    model.write_bytes(tiny_model(SIZE, precision="uint8"))
    file = model.with_suffix(".golden.npz")
    assert refusal(model) == (
        1,
        f"Error: {file}: made with another model than {model}: copy both files again, or convert "
        "again",
    )
    # The hash of what the Edge TPU compiler writes is not known, but its input is.
    compiled = tmp_path / "model_edgetpu.tflite"
    compiled.write_bytes(tiny_model((64, 64)) + b"edgetpu-custom-op")
    assert refusal(compiled) == (
        1,
        "Error: the model takes (64, 64, 3) int8, and the golden file has (32, 48, 3) int8: name "
        "the golden file that was made with the model",
    )


def test_what_cannot_be_read_is_named(refusal, model, tmp_path):
    file = model.with_suffix(".golden.npz")
    file.write_bytes(file.read_bytes()[:-30])
    damaged = f"Error: {file}: no golden file, or a damaged one: copy it again"
    assert refusal(model) == (1, damaged)
    file.unlink()
    code, line = refusal(model)
    assert code == 1 and line.startswith(f"Error: {file}: no such golden file: copy ")
    model.write_text("milk, bread")
    assert refusal(model) == (1, f"Error: {model}: not a TFLite model")
    code, line = refusal(tmp_path / "none.tflite")
    assert code == 1 and "none.tflite" in line


def test_a_file_that_was_not_compiled_is_no_proof_of_an_edge_tpu(refusal, model):
    for name in ("edgetpu", "/usr/lib/libedgetpu.so.1"):
        assert refusal(model, "--delegate", name) == (
            1,
            f"Error: {model}: not compiled for the Edge TPU, which would leave it to the CPU: run "
            f"edgetpu_compiler on it, and check {model.with_name('model_edgetpu.tflite')}",
        )


def test_delegates_that_are_none(refusal, model):
    model.write_bytes(compiled(tiny_model(SIZE)))
    for name in ("edgetpu", "libnothing.so", _imaging.__file__):
        code, line = refusal(model, "--delegate", name)
        assert code == 1 and line.startswith(f"Error: delegate {name}: cannot use ")


# On an Edge TPU, for which a delegate stands in


def answers_of(golden: Path, tmp_path) -> Path:
    """The reference answers of a golden file as the stand-in hands them out."""
    path = tmp_path / "answers.bin"
    with np.load(golden) as file:
        path.write_bytes(file["reference"].tobytes())
    return path


@pytest.fixture
def compiled_network(tmp_path):
    """Our own network in the compiler's form, with its golden file, and its right answers."""
    path = tmp_path / "model_edgetpu.tflite"
    path.write_bytes(compiled(MODEL.read_bytes()))
    golden = MODEL.with_suffix(".golden.npz")
    shutil.copyfile(golden, tmp_path / "model.golden.npz")
    return path, answers_of(golden, tmp_path)


def test_a_compiled_file_that_answers_rightly(standin, compiled_network):
    """As a user runs it: the library is found by its name."""
    model, answers = compiled_network
    words = [sys.executable, "-I", TOOL, model, "--delegate", "edgetpu", "--repeat", "2"]
    environment = standin.environment(answers=answers)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "passes")
    assert lines[2].split(maxsplit=3)[:3] == ["delegate", "edgetpu", "passes"]


def test_a_compiled_file_that_answers_wrongly_in_half_of_the_image(standin, compiled_network):
    model, answers = compiled_network
    words = [sys.executable, "-I", TOOL, model, "--delegate", "edgetpu", "--repeat", "0"]
    environment = standin.environment(answers=answers, corrupt="half")
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (1, "falls short")
    assert lines[2].startswith("delegate edgetpu   FAILS   ")
    assert lines[3].strip().startswith("the lower half of the image is wrong: same or tied ")
    assert lines[3].endswith(" there, 100.00% in the upper half")
    assert lines[4].strip() == (
        "compiled files are known to do that: https://github.com/google-coral/edgetpu/issues/377"
    )


def test_which_half_is_wrong(check, standin, monkeypatch, tmp_path):
    model = tmp_path / "model_edgetpu.tflite"
    golden = write_with_golden(tmp_path / "model.tflite", tiny_model(SIZE))
    model.write_bytes(compiled(tiny_model(SIZE)))
    options = ("--delegate", standin.library, "--repeat", 0, "--json", "-")
    code, printed, _ = check(model, *options)
    (comparison,) = json.loads(printed)["comparisons"]
    assert code == 0 and comparison["same_bytes"]

    monkeypatch.setenv("STANDIN_CORRUPT", "half")
    code, printed, _ = check(model, *options)
    (comparison,) = json.loads(printed)["comparisons"]
    upper, lower = comparison["halves"]["upper"], comparison["halves"]["lower"]
    assert code == 1 and not comparison["passed"]
    assert upper == 1.0 and lower < 0.5
    assert comparison["agreement"] == pytest.approx((upper + lower) / 2)
    assert abs(comparison["halves"]["left"] - comparison["halves"]["right"]) < 0.2

    # The same answers, turned by a quarter: it is the right half.
    monkeypatch.delenv("STANDIN_CORRUPT")
    with np.load(golden) as file:
        wrong = file["reference"].copy()
    wrong[:, :, SIZE[1] // 2 :] ^= -1
    (tmp_path / "wrong.bin").write_bytes(wrong.tobytes())
    monkeypatch.setenv("STANDIN_ANSWERS", str(tmp_path / "wrong.bin"))
    code, printed, _ = check(model, *options[:-2])
    assert code == 1 and "the right half of the image is wrong" in printed


def test_an_edge_tpu_that_is_not_there(check, standin, monkeypatch, tmp_path):
    model = tmp_path / "model_edgetpu.tflite"
    write_with_golden(tmp_path / "model.tflite", tiny_model(SIZE))
    model.write_bytes(compiled(tiny_model(SIZE)))
    for behaviour, what in (
        ("STANDIN_NO_DEVICE", f"delegate {standin.library}: {standin.library} does not start ("),
        ("STANDIN_OLD_ABI", "the runtime cannot run the model: Internal: Unsupported data type "),
        ("STANDIN_LOST_AFTER", "an inference failed: Failed to execute request."),
    ):
        monkeypatch.setenv(behaviour, "1")
        code, printed, error = check(model, "--delegate", standin.library)
        monkeypatch.delenv(behaviour)
        assert (code, printed) == (1, "")
        assert error.startswith(f"Error: {what}") and error.count("\n") == 1


def test_a_delegate_is_told_its_options(check, standin, monkeypatch, tmp_path):
    model = tmp_path / "model_edgetpu.tflite"
    write_with_golden(tmp_path / "model.tflite", tiny_model(SIZE))
    model.write_bytes(compiled(tiny_model(SIZE)))
    monkeypatch.setenv("STANDIN_RECORD", str(tmp_path / "record"))
    told = ("--delegate-option", "device=usb:1", "--delegate-option", "Performance=Low")
    code, _, error = check(model, "--delegate", standin.library, *told, "--repeat", 0)
    assert (code, error) == (0, "")
    lines = (tmp_path / "record").read_text().splitlines()
    assert lines[0] == "create device=usb:1 Performance=Low"


def test_a_delegate_that_takes_no_operator_is_told(check, standin, tmp_path):
    model, library = tmp_path / "model.tflite", tmp_path / "accelerator.so"
    write_with_golden(model, tiny_model(SIZE))
    library.write_bytes(standin.library.read_bytes())
    code, _, error = check(model, "--delegate", library, "--repeat", 0)
    assert code == 0 and error.startswith(f"Warning: {model}: the delegate {library} took none of")


def test_bad_usage(check, refusal, model):
    for arguments in (
        (),
        (model, "--repeat", "-1"),
        (model, "--threads", "0"),
        (model, "--inputs", "0"),
        (model, "--runtime", "onnx"),
        (model, "--delegate-option", "a=b"),
        (model, "--delegate", "edgetpu", "--delegate-option", "Low"),
        (model, model),
    ):
        code, line = refusal(*arguments)
        assert code == 2 and line.startswith("Error: ")
    code, printed, _ = check("--help")
    assert code == 0 and "--delegate" in printed


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of its modules")
def test_it_is_one_file_for_python_3_9():
    tree = ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
