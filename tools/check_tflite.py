#!/usr/bin/env python3
"""Checks on the device itself that a .tflite file answers there as where it was made.

    python3 check_tflite.py model.tflite
    python3 check_tflite.py model_edgetpu.tflite --delegate edgetpu

This file is all that it takes, with Python 3.9 or later, NumPy and a TFLite runtime
(ai-edge-litert, tflite-runtime or TensorFlow), and beside the model its golden file, as
`keras-bisenet convert` writes it: model.golden.npz, inputs and the answers to them.

It replays the inputs and compares the answers:

- with TFLite's reference kernels, which owe a model in integers the same bytes on every machine;
- with the kernels that the runtime chooses by itself, or on a delegate. Those round in their own
  way, so that logits differ by a step or two. What must be the same is the class of each output
  pixel: the class that wins here, or one that all but won there (within 1/64 of the answer's
  range, 4 steps of 8 bits), for 99.5% of the pixels; the very bytes that those kernels gave there
  pass in any case. Where it is not, the worst half of the image is named: compiled files are known
  that answer wrongly in one half alone (https://github.com/google-coral/edgetpu/issues/377).

Then it measures how long one inference takes, with the kernels or the delegate that `run` uses.

Exit status: 0 when the model passes, 1 when it falls short or cannot run, 2 on bad usage.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

FORMAT = 1

LEAST_AGREEMENT = 0.995
"""Share of the output's pixels that must have the golden class, or one that all but won."""

TIE = 1 / 64
"""How far behind the winner, in parts of the answer's range, a class has all but won."""

LOPSIDED = 0.05
"""By how much one half of the image must agree less than the other to be named."""

HALF_WRONG = "https://github.com/google-coral/edgetpu/issues/377"

WARM_UP = 3

RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}

EDGETPU_LIBRARIES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
EDGETPU_OPERATOR = b"edgetpu-custom-op"


class Failure(Exception):
    """What ends the check with one line."""


def main(arguments=None) -> int:
    options = parse(arguments)
    try:
        report = check(options)
        text = json.dumps(report, indent=2)
        if options.json not in (None, "-"):
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    except (Failure, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(text if options.json == "-" else "\n".join(lines(report)))
    return 0 if report["passed"] else 1


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"Error: {message} ({self.prog} --help)\n")


def parse(arguments) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .tflite file")
    parser.add_argument(
        "--golden", type=Path, metavar="FILE", help="its golden file  [MODEL.golden.npz]"
    )
    parser.add_argument(
        "--delegate", metavar="NAME", help="edgetpu, or the path of a TFLite delegate's library"
    )
    parser.add_argument(
        "--delegate-option",
        type=name_and_value,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="tell the delegate's library, for instance device=usb; can be repeated",
    )
    parser.add_argument("--runtime", choices=RUNTIMES, help="[the first that is installed]")
    parser.add_argument(
        "--threads", type=natural, metavar="N", help="CPU threads  [all, 4 at most]"
    )
    parser.add_argument(
        "--inputs",
        type=natural,
        metavar="N",
        help="golden inputs to replay, from the first, where a device is slow  [all]",
    )
    parser.add_argument(
        "--repeat",
        type=natural,
        default=50,
        metavar="N",
        help="inferences to measure, 0 for none  [50]",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the verdict for programs; - writes it to the terminal"
    )
    options = parser.parse_args(arguments)
    for name in ("threads", "inputs"):
        if getattr(options, name) == 0:
            parser.error(f"--{name} 0: choose 1 or more")
    if options.delegate_option and not options.delegate:
        parser.error("--delegate-option goes with --delegate")
    return options


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def name_and_value(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


# === The check ===


def check(options) -> dict:
    """The verdict, as --json writes it."""
    content = read_model(options.model)
    golden_file = options.golden or golden_path(options.model)
    golden = read_golden(golden_file)
    require_same_model(content, golden, options.model, golden_file)
    require_compiled(content, options.model, options.delegate)
    for name in ("inputs", "reference", "fast"):
        golden[name] = golden[name][: options.inputs]
    name, runtime = load_runtime(options.runtime)
    threads = options.threads or default_threads()
    told = dict(options.delegate_option)
    warn_of_idleness(runtime, content, threads, options.model, options.delegate, told)
    chosen = open_interpreter(runtime, content, threads, options.delegate, told)
    comparisons = []
    if not options.delegate:
        reference = open_reference(runtime, content, threads)
        if reference is not None:
            answers = replay(reference, golden["inputs"])
            exact = bool(golden["exact"])
            comparisons.append(compare("reference", answers, golden, "reference", exact))
        del reference
    answers = replay(chosen, golden["inputs"])
    kernels = options.delegate or "fast"
    comparisons.append(compare(kernels, answers, golden, "fast", False))
    return {
        "model": str(options.model),
        "golden": str(golden_file),
        "inputs": len(golden["inputs"]),
        "size": list(golden["inputs"].shape[1:3]),
        "made_with": f"{golden['runtime']} on {golden['machine']}",
        "runtime": f"{name} {version(name)}".strip(),
        "machine": platform.machine(),
        "threads": threads,
        "delegate": options.delegate,
        "comparisons": comparisons,
        "latency_ms": latency(chosen, golden["inputs"][0], options.repeat),
        "passed": all(comparison["passed"] for comparison in comparisons),
    }


def lines(report: dict) -> list[str]:
    """The verdict for people."""
    height, width = report["size"]
    shown = [
        f"{report['model']}: {report['inputs']} golden inputs of {height}x{width}, answered by "
        f"{report['made_with']}",
        f"here: {report['runtime']} on {report['machine']}, {report['threads']} threads",
    ]
    for c in report["comparisons"]:
        title = f"delegate {c['kernels']}" if report["delegate"] else f"{c['kernels']} kernels"
        if c["same_bytes"]:
            found = "the same bytes"
        else:
            found = (
                f"{c['differing_bytes']:.2%} of the values differ, by {c['largest_difference']:.4g}"
                f" at most; same class {c['same_class']:.2%}, same or tied {c['agreement']:.2%}"
            )
        shown.append(f"{title:<18} {'passes' if c['passed'] else 'FAILS '}  {found}")
        if not c["passed"]:
            shown += [f"{'':<26} {line}" for line in half_lines(c["halves"], report["delegate"])]
    if report["latency_ms"]:
        times = report["latency_ms"]
        percentiles = ", ".join(f"{name} {times[name]:.2f} ms" for name in ("p50", "p90", "p99"))
        shown.append(f"{'latency':<18} {percentiles} ({times['runs']} inferences)")
    shown.append("passes" if report["passed"] else "falls short")
    return shown


def half_lines(halves: dict, delegate: str | None) -> list[str]:
    """Which half of the image is wrong, where one is much worse than the other."""
    for pair in (("upper", "lower"), ("left", "right")):
        worse, better = sorted(pair, key=halves.get)
        if halves[better] - halves[worse] >= LOPSIDED:
            found = [
                f"the {worse} half of the image is wrong: same or tied {halves[worse]:.2%} there, "
                f"{halves[better]:.2%} in the {better} half"
            ]
            if delegate:
                found.append(f"compiled files are known to do that: {HALF_WRONG}")
            return found
    return []


def compare(kernels: str, answers: np.ndarray, golden: dict, against: str, exact: bool) -> dict:
    """Compares answers with the golden ones, byte by byte and class by class.

    Bytes are compared with the array `against` of the golden file; classes with the reference
    kernels', which are the same on every machine. The same bytes pass whatever their classes: of a
    model that is unsure, the two kernels give different ones where it was made, too.
    """
    expected = golden[against]
    if answers.shape != expected.shape or answers.dtype != expected.dtype:
        raise Failure(
            f"the model answers {shown(answers[0])}, and the golden file has {shown(expected[0])}: "
            "name the golden file that was made with the model"
        )
    same = answers == expected
    steps = np.abs(answers.astype(np.float64) - expected)
    same_class, tied = agreements(answers, golden["reference"], str(golden["output_kind"]))
    agreement = float(tied.mean())
    return {
        "kernels": kernels,
        "same_bytes": bool(same.all()),
        "differing_bytes": float(1 - same.mean()),
        "largest_difference": float(steps.max()),
        "same_class": float(same_class.mean()),
        "agreement": agreement,
        "halves": halves(tied),
        "passed": bool(same.all() or (not exact and agreement >= LEAST_AGREEMENT)),
    }


def agreements(answers: np.ndarray, expected: np.ndarray, kind: str):
    """Which pixels, [count, height, width], have the same class, and which that or a tied one."""
    if kind != "logits":
        return answers == expected, answers == expected
    winners = answers.argmax(axis=-1)
    expected = expected.astype(np.float64)
    theirs = np.take_along_axis(expected, winners[..., None], axis=-1)[..., 0]
    tie = TIE * (expected.max() - expected.min())
    same = winners == expected.argmax(axis=-1)
    return same, same | (expected.max(axis=-1) - theirs <= tie)


def halves(agree: np.ndarray) -> dict:
    """The share of pixels that agree, by half of the image."""
    height, width = agree.shape[1:3]
    parts = {
        "upper": agree[:, : height // 2],
        "lower": agree[:, height // 2 :],
        "left": agree[:, :, : width // 2],
        "right": agree[:, :, width // 2 :],
    }
    return {name: float(part.mean()) if part.size else 1.0 for name, part in parts.items()}


def latency(interpreter, array: np.ndarray, repeat: int) -> dict | None:
    """Percentiles of the time of one inference in milliseconds, after a warm-up."""
    if not repeat:
        return None
    times = []
    for _ in range(WARM_UP + repeat):
        start = time.perf_counter()
        invoke(interpreter, array)
        times.append(1000 * (time.perf_counter() - start))
    percentiles = np.percentile(times[WARM_UP:], (50, 90, 99)).tolist()
    return {"runs": repeat, **dict(zip(("p50", "p90", "p99"), percentiles))}


# === The files ===


def golden_path(model: Path) -> Path:
    """model.golden.npz for model.tflite, and for model_edgetpu.tflite where it has none itself."""
    name = model.stem if model.suffix == ".tflite" else model.name
    path = model.with_name(f"{name}.golden.npz")
    if name.endswith("_edgetpu") and not path.exists():
        return model.with_name(f"{name[: -len('_edgetpu')]}.golden.npz")
    return path


def read_model(path: Path) -> bytes:
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise Failure(f"{path}: not a TFLite model")
    return content


def read_golden(path: Path) -> dict:
    """The arrays of a golden file."""
    if not path.exists():
        raise Failure(
            f"{path}: no such golden file: copy the one that keras-bisenet convert wrote beside "
            "the model, or name it with --golden"
        )
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise Failure(
                    f"{path}: a golden file of format {file['format']}: take the check_tflite.py "
                    "of the keras-bisenet that wrote it"
                )
            names = ("model_sha256", "inputs", "reference", "fast", "exact", "output_kind")
            golden = {name: file[name] for name in (*names, "runtime", "machine")}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise Failure(f"{path}: no golden file, or a damaged one: copy it again") from error
    return golden


def require_same_model(content: bytes, golden: dict, model: Path, golden_file: Path) -> None:
    """Refuses the golden file of another model.

    The Edge TPU compiler writes a new file, whose origin its answers alone can show.
    """
    is_compiled = EDGETPU_OPERATOR in content
    if not is_compiled and hashlib.sha256(content).hexdigest() != str(golden["model_sha256"]):
        raise Failure(
            f"{golden_file}: made with another model than {model}: copy both files again, or "
            "convert again"
        )


def require_compiled(content: bytes, model: Path, delegate: str | None) -> None:
    """Refuses a file that an Edge TPU would leave to the CPU, which would pass without a word."""
    if delegate and "edgetpu" in os.path.basename(delegate) and EDGETPU_OPERATOR not in content:
        compiled = model.with_name(f"{model.stem}_edgetpu.tflite")
        raise Failure(
            f"{model}: not compiled for the Edge TPU, which would leave it to the CPU: run "
            f"edgetpu_compiler on it, and check {compiled}"
        )


# === The runtime ===


def load_runtime(name: str | None):
    """The name and the module of the runtime that is asked for, or of the first there is."""
    candidates = [name] if name else list(RUNTIMES)
    for candidate in candidates:
        try:
            return candidate, importlib.import_module(RUNTIMES[candidate])
        except ImportError:
            pass
    raise Failure(f"no {' or '.join(candidates)} here: pip install {candidates[0]}")


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # as system images may install it
        return ""


def open_interpreter(runtime, content: bytes, threads: int, delegate=None, told=None, **more):
    delegates = [load_delegate(runtime, delegate, told)] if delegate else None
    try:
        interpreter = runtime.Interpreter(
            model_content=content, num_threads=threads, experimental_delegates=delegates, **more
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if EDGETPU_OPERATOR.decode() in reason and delegate != "edgetpu":
            reason = "it is compiled for the Edge TPU: add --delegate edgetpu"
        raise Failure(f"the runtime cannot run the model: {reason}") from error
    return interpreter


def open_reference(runtime, content: bytes, threads: int):
    """An interpreter with the reference kernels; None where the runtime offers no choice."""
    option = "experimental_op_resolver_type"
    if option not in inspect.signature(runtime.Interpreter.__init__).parameters:
        return None
    kernels = {option: runtime.OpResolverType.BUILTIN_REF}
    return open_interpreter(runtime, content, threads, **kernels)


def warn_of_idleness(runtime, content, threads, model: Path, delegate, told) -> None:
    """Says that a delegate takes no operator, which a runtime passes over without a word."""
    if not delegate or EDGETPU_OPERATOR in content:  # which nothing else could run
        return
    # Without the runtime's own delegate (XNNPACK), what is taken is this one's.
    kernels = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    probe = open_interpreter(
        runtime, content, threads, delegate, told, experimental_op_resolver_type=kernels
    )
    operators = probe._get_ops_details()  # no public call tells
    if not any(operator["op_name"].startswith("DELEGATE") for operator in operators):
        print(
            f"Warning: {model}: the delegate {delegate} took none of its operators, so all of it "
            "runs on the CPU: see which it takes, and in which precision",
            file=sys.stderr,
        )


def load_delegate(runtime, name: str, told=None):
    library = name
    if name == "edgetpu":
        library = EDGETPU_LIBRARIES.get(sys.platform, "libedgetpu.so.1")
    elif os.path.exists(name):
        library = os.path.abspath(name)  # else it would be looked for among the system's alone
    try:
        # The runtime takes it on trust that this function is there.
        ctypes.CDLL(library).tflite_plugin_create_delegate  # noqa: B018
    except (OSError, AttributeError) as error:
        raise Failure(f"delegate {name}: cannot use {library}: {error}") from error
    try:
        return runtime.load_delegate(library, told or {})
    except (ValueError, RuntimeError) as error:  # libedgetpu does not say why
        raise Failure(
            f"delegate {name}: {library} does not start ({' '.join(str(error).split())}): see that "
            "its device is plugged in and that this user may use it"
        ) from error


def default_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(4, len(os.sched_getaffinity(0)))
    return min(4, os.cpu_count() or 1)


def replay(interpreter, inputs: np.ndarray) -> np.ndarray:
    """The answers to the golden inputs, [count, ...]."""
    (image,) = interpreter.get_input_details()[:1]
    taken = np.empty(image["shape"][1:], image["dtype"])
    if (taken.shape, taken.dtype) != (inputs.shape[1:], inputs.dtype):
        raise Failure(
            f"the model takes {shown(taken)}, and the golden file has {shown(inputs[0])}: name the "
            "golden file that was made with the model"
        )
    return np.stack([invoke(interpreter, array) for array in inputs])


def invoke(interpreter, array: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array[None])
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise Failure(f"an inference failed: {' '.join(str(error).split())}") from error
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def shown(array: np.ndarray) -> str:
    return f"{array.shape} {array.dtype}"


if __name__ == "__main__":
    sys.exit(main())
