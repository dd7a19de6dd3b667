"""The CPU: what XNNPACK, TFLite's fast path on processors, takes of a file.

The runtime itself is asked: it opens the file as it would to run it, which hands to XNNPACK
whatever XNNPACK takes, and its execution plan tells what that was. What is left still runs, on
TFLite's own kernels.

A file can make the runtime crash, hang or fill the memory, so it is opened in a process of its
own, with limits on time and memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_bisenet.errors import UserError
from keras_bisenet.lite.model_file import ModelFile, Subgraph
from keras_bisenet.targets.graph import Node, consumers, nodes, producers
from keras_bisenet.targets.rules import Assessment, Finding, Refusal
from keras_bisenet.targets.target import Target

XNNPACK = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md"

CPU_LIMIT = 10
"""Seconds of the processor for the runtime to start and open a file, beside what its size asks for.
They do not pass while other programs have it."""

CPU_PER_BYTE = 1e-7
"""Seconds of the processor: 134 MB of weights take one on a desktop, several on a board."""

TIME_LIMIT = 90.0
"""Seconds on the clock, for what waits and does not work."""

MEMORY_LIMIT = 512 << 20
"""Bytes for the runtime, beside what the file asks for by its size."""

MEMORY_PER_BYTE = 4
"""A file's weights are read, and packed once more for the processor."""


def assess(model: ModelFile) -> Assessment:
    """Which operators XNNPACK takes, by the installed runtime's own execution plan."""
    answer = ask_runtime(model)
    operators = nodes(model)
    if answer.error:
        asked = answer.runtime or "the installed TFLite runtime"
        refusal = Refusal("runtime", "the runtime does not run the file", asked)
        return Assessment((refusal,) * len(operators), (Finding("runtime", "error", answer.error),))
    delegated = _delegated(model.main, answer.delegates)
    refusals = tuple(
        _refusal(node, fate, answer.runtime) for node, fate in zip(operators, delegated)
    )
    return Assessment(refusals, (*_not_taken(operators, refusals), _told_by(answer.runtime)))


TARGET = Target(
    name="cpu",
    runner="XNNPACK",
    elsewhere="TFLite's own kernels",
    resize="half-pixel",
    assess=assess,
    requires_all=False,
)


def _told_by(runtime: str) -> Finding:
    return Finding("runtime", "note", f"asked of {runtime}; another runtime may take others")


def _not_taken(operators: list[Node], refusals: tuple[Refusal | None, ...]) -> list[Finding]:
    """One note for each reason, however many operators share it."""
    alike: dict[tuple[str, Refusal], list[int]] = {}
    for node, refusal in zip(operators, refusals):
        if refusal is not None:
            alike.setdefault((node.name, refusal), []).append(node.operator.index)
    return [
        Finding(
            refusal.rule,
            "note",
            f"{len(indices)} {name} left to TFLite's own kernels: {refusal.reason}",
            refusal.source,
            indices[0],
        )
        for (name, refusal), indices in alike.items()
    ]


# Why XNNPACK does not take an operator

EIGHT_BIT_OPERATORS = frozenset(
    (
        "ADD",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "ELU",
        "FULLY_CONNECTED",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "PAD",
        "QUANTIZE",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "SLICE",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SUB",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    )
)
"""What XNNPACK documents to take of 8-bit operators."""

FLOAT_OPERATORS = (EIGHT_BIT_OPERATORS - {"DEQUANTIZE", "QUANTIZE"}) | {
    "ABS",
    "AVERAGE_POOL_2D",
    "CEIL",
    "DIV",
    "FLOOR",
    "HARD_SWISH",
    "MAXIMUM",
    "MINIMUM",
    "NEG",
    "PRELU",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "ROUND",
    "SOFTMAX",
    "SQRT",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "STRIDED_SLICE",
}
"""What it documents to take of floating-point operators."""


def _refusal(node: Node, fate: bool | None, runtime: str) -> Refusal | None:
    if fate:
        return None
    if fate is None:
        return Refusal("unused", "nothing reads its result, so the plan does not tell", XNNPACK)
    if node.operator.is_custom:
        return Refusal("custom-operator", "custom operators have kernels of their own", XNNPACK)
    types = {t.dtype for t in (*node.outputs, node.input(0)) if t is not None}
    if types & {"INT8", "UINT8"}:
        kind, listed = "8-bit", EIGHT_BIT_OPERATORS
    elif "FLOAT32" in types:
        kind, listed = "floating-point", FLOAT_OPERATORS
    else:
        kind, listed = "/".join(sorted(types)).lower() or "untyped", frozenset()
    if node.name not in listed:
        return Refusal("no-such-operator", f"XNNPACK has no {kind} {node.name}", XNNPACK)
    if kind == "8-bit" and runtime.startswith("tflite-runtime"):
        return Refusal(
            "no-8-bit-xnnpack",
            "tflite-runtime is built without XNNPACK's 8-bit operators; ai-edge-litert has them",
            XNNPACK,
        )
    return Refusal("conditions", f"XNNPACK takes {kind} {node.name}, but not of this form", XNNPACK)


# What the execution plan says


Delegates = tuple[tuple[frozenset[int], tuple[int, ...]], ...]


@dataclass(frozen=True)
class Answer:
    """What the runtime said of a file.

    Attributes:
        runtime: Its name and version.
        delegates: The inputs and outputs of the nodes that stand for delegated operators.
        error: Why it does not run the file; empty when it does.
    """

    runtime: str = ""
    delegates: Delegates = ()
    error: str = ""


def _delegated(graph: Subgraph, delegates: Delegates) -> list[bool | None]:
    """For each operator whether a delegate took it; None where that cannot be told.

    A runtime lists the operators of the file and, behind them, one node for each group that a
    delegate took over, with the tensors that the group reads and writes. So the group is
    whatever lies on the way from what it writes back to what it reads. An operator whose result
    nobody reads lies on no such way.
    """
    computed_by = producers(graph)
    read = {*consumers(graph), *graph.outputs}
    taken = set()
    for inputs, outputs in delegates:
        pending = list(outputs)
        seen = set(inputs) | set(outputs)
        while pending:
            producer = computed_by.get(pending.pop())
            if producer is None or producer in taken:
                continue
            taken.add(producer)
            missing = set(graph.operators[producer].inputs) - seen
            seen |= missing
            pending.extend(missing)
    return [
        True
        if operator.index in taken
        else (False if not delegates or read.intersection(operator.outputs) else None)
        for operator in graph.operators
    ]


def ask_runtime(model: ModelFile) -> Answer:
    """Opens a file in the installed TFLite runtime, in a process of its own.

    Returns:
        What the runtime said, or why it could not say anything.

    Raises:
        UserError: When no runtime is installed.
    """
    with tempfile.TemporaryFile() as output, _on_disk(model) as path:
        try:
            process = subprocess.run(
                [sys.executable, "-I", "-c", _CHILD, path, *filter(None, sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=TIME_LIMIT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(error=f"the runtime did not open it within {TIME_LIMIT:g} seconds")
        output.seek(0)
        return _read_answer(output.read(_ANSWER_LIMIT), process.returncode)


def _read_answer(content: bytes, exit_code: int) -> Answer:
    try:
        answer = json.loads(content)
        if "no_runtime" in answer:
            raise UserError(answer["no_runtime"])
        return Answer(
            runtime=str(answer["runtime"]),
            delegates=tuple(
                (frozenset(map(int, inputs)), tuple(map(int, outputs)))
                for inputs, outputs in answer["delegates"]
            ),
            error=_short(str(answer["error"])),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        if -exit_code == getattr(signal, "SIGXCPU", None):
            return Answer(error="the runtime takes too long to open it")
        ending = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        return Answer(error=f"the runtime crashed on this file ({ending})")


def _short(error: str) -> str:
    if error.endswith(": "):  # it says nothing when it cannot have its memory
        error += f"it may need more memory than the {MEMORY_LIMIT >> 20} MiB that it is given here"
    return error[:_LONGEST_ERROR]


@contextlib.contextmanager
def _on_disk(model: ModelFile) -> Iterator[str]:
    """The path of the bytes that were read, whatever has become of the file meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(model.data)
        yield path


# The other process

_ANSWER_LIMIT = 32 << 20
_LONGEST_ERROR = 500

_CHILD = """
import sys
sys.path[:] = sys.argv[2:]
from keras_bisenet.targets.cpu import tell
tell(sys.argv[1])
"""


def tell(path: str) -> None:
    """Writes what the runtime says of `path` to standard output, as JSON."""
    _limit_resources(os.path.getsize(path))
    from keras_bisenet.runtime.interpreter import open_interpreter, runtime_name

    result: dict[str, Any] = {"runtime": "", "delegates": [], "error": ""}
    try:
        result["runtime"] = runtime_name()
    except UserError as error:
        print(json.dumps({"no_runtime": str(error)}))
        return
    try:
        interpreter = open_interpreter(path, threads=1)
        # Undocumented, and the same in tflite-runtime 2.14 and ai-edge-litert 2.3.
        operators = interpreter._get_ops_details()
        result["delegates"] = [
            [list(map(int, operator["inputs"])), list(map(int, operator["outputs"]))]
            for operator in operators
            if operator["op_name"] == "DELEGATE"
        ]
    except UserError as error:
        result["error"] = str(error).replace(f"{path}: ", "", 1)
    except MemoryError:
        result["error"] = "the runtime needs more memory for it than it may take"
    except Exception as error:  # whatever its bindings make of a file that nobody meant to write
        result["error"] = f"the runtime fails on it: {type(error).__name__}: {error}"
    print(json.dumps(result))


def _limit_resources(file_size: int) -> None:
    """Limits this process' time, memory and output; on Windows the time limit has to do."""
    try:
        import resource
    except ImportError:
        return
    memory = MEMORY_LIMIT + MEMORY_PER_BYTE * file_size
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(CPU_LIMIT + CPU_PER_BYTE * file_size)),
        (resource.RLIMIT_FSIZE, _ANSWER_LIMIT),
        (resource.RLIMIT_CORE, 0),
    ):
        # A system may refuse a limit, and may have a lower one of its own.
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(kind)
            if hard != resource.RLIM_INFINITY:
                limit = min(limit, hard)
            resource.setrlimit(kind, (limit, hard))
