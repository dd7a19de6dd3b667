"""The Coral Edge TPU: what its compiler, 16.0, takes of a file.

The compiler is closed. What it does is read from, in this order: the documentation's table of
supported operations; what compiled models that Google and others publish show it to have done,
where the documentation is silent or stricter than the compiler; its own messages in issue
threads. The rules on single operators are in `coral_operators`, the sizes that they map at in
`coral_sizes`, the versions that the compiler knows in `coral_versions`.
"""

from __future__ import annotations

import math

from keras_bisenet.lite.model_file import ModelFile
from keras_bisenet.runtime.delegates import EDGETPU_OPERATOR
from keras_bisenet.targets.coral_operators import operator_refusal
from keras_bisenet.targets.coral_sizes import ISSUES
from keras_bisenet.targets.coral_versions import (
    COMPILER,
    VERSIONS_SOURCE,
    is_known,
    newest_version,
)
from keras_bisenet.targets.graph import Node, nodes, partitions, producers, shown_shape
from keras_bisenet.targets.rules import PARTITIONING, Assessment, Finding, Refusal
from keras_bisenet.targets.target import Target

COMPILING = "https://coral.ai/docs/edgetpu/models-intro/#compiling"

LARGE_ACTIVATION = 8 << 20
"""Bytes. The Edge TPU has about 8 MB of memory on the chip."""

LARGE_LSTM = 900
"""Inputs or units. "Below 900 (ish)" is known to compile, and above 1,000 not to."""


def assess(model: ModelFile) -> Assessment:
    """Which operators the compiler maps to the Edge TPU."""
    operators = nodes(model)
    if any(_is_compiled(node) for node in operators):
        return Assessment(
            tuple(_assess_compiled(node) for node in operators),
            (
                Finding(
                    "compiled",
                    "error",
                    "it was compiled for the Edge TPU already; check the file that it was "
                    "compiled from",
                    COMPILING,
                ),
            ),
        )
    unknown = [node for node in operators if not is_known(node)]
    if unknown:
        return Assessment(tuple(_refused_with(unknown, node) for node in operators))
    refusals = [operator_refusal(node) for node in operators]
    return Assessment(
        tuple(_after_the_first_partition(model, operators, refusals)),
        (
            *_large_activations(operators, refusals),
            *_large_lstms(operators, refusals),
            _what_is_predicted(),
        ),
    )


def _what_is_predicted() -> Finding:
    return Finding(
        "prediction",
        "note",
        f"said of the {COMPILER} with its default flags, by its documentation and by compiled "
        "models; whether it fails on a file that it could map is not predicted",
        COMPILING,
    )


TARGET = Target(
    name="coral",
    runner="the Edge TPU",
    elsewhere="the CPU",
    resize="asymmetric",
    assess=assess,
    precisions=("int8",),
    integer_only=True,
    following_rules=("one-partition", "refused-file"),
)


# One partition


def _after_the_first_partition(
    model: ModelFile, operators: list[Node], refusals: list[Refusal | None]
) -> list[Refusal | None]:
    """Adds the operators that could be mapped, but stand behind one that is not.

    "Currently, the Edge TPU compiler cannot partition the model more than once, so as soon as
    an unsupported operation occurs, that operation and everything after it executes on the
    CPU." The compiler is a TFLite delegate, so what is "after" follows from TFLite's way of
    partitioning a graph: an operator is left on the CPU when it needs the result of one that is,
    not when it merely stands later in the file. Unsupported operators before the first supported
    one, such as the QUANTIZE behind a float input, keep nothing off the Edge TPU.
    """
    numbers = partitions(model.main, [refusal is None for refusal in refusals])
    first = min((n for n, r in zip(numbers, refusals) if r is None and n is not None), default=None)
    blockers = _blockers(model, refusals, numbers, -1 if first is None else first)
    result = []
    for refusal, number, blocker in zip(refusals, numbers, blockers):
        if refusal is None and (number is None or number != first):
            reason = "its inputs are never computed"
            if number is not None:
                reason = _behind(operators, blocker)
            refusal = Refusal("one-partition", reason, f"{COMPILING}; {PARTITIONING}")
        result.append(refusal)
    return result


def _blockers(
    model: ModelFile,
    refusals: list[Refusal | None],
    numbers: list[int | None],
    first: int,
) -> list[int | None]:
    """For each operator the unmapped one, nearest above it, whose result it needs.

    What runs before the partition `first` is there when it starts, and keeps nothing off it.
    """
    computed_by = producers(model.main)
    blockers: list[int | None] = [None] * len(refusals)
    in_order = sorted((number, i) for i, number in enumerate(numbers) if number is not None)
    blocks = {i for number, i in in_order if number > first and refusals[i] is not None}
    for _, index in in_order:
        for tensor in model.main.operators[index].inputs:
            producer = computed_by.get(tensor)
            if producer is None or producer == index:
                continue
            blocker = producer if producer in blocks else blockers[producer]
            if blocker is not None:
                blockers[index] = blocker
                break
    return blockers


def _behind(operators: list[Node], blocker: int | None) -> str:
    if blocker is None:
        return "it is not reached before an operator that does not map"
    return (
        f"it needs the result of operator {blocker} ({operators[blocker].name}), which does not map"
    )


# Files that it refuses, or has compiled


def _refused_with(unknown: list[Node], node: Node) -> Refusal:
    if not is_known(node):
        known = newest_version(node.name)
        reason = f"{COMPILER} does not know {node.name} version {node.version}" + (
            f", only up to {known}" if known < math.inf else ""
        )
        return Refusal("version", f"{reason}, and refuses the whole file", VERSIONS_SOURCE)
    other = unknown[0]
    return Refusal(
        "refused-file",
        f"the compiler refuses the whole file over operator {other.operator.index} "
        f"({other.name} version {other.version})",
        VERSIONS_SOURCE,
    )


def _is_compiled(node: Node) -> bool:
    return node.operator.is_custom and node.name == EDGETPU_OPERATOR


def _assess_compiled(node: Node) -> Refusal | None:
    if _is_compiled(node):
        return None
    return Refusal("left-on-cpu", "the compiler left it on the CPU", COMPILING)


# What the compiler may stumble over


def _large_activations(operators: list[Node], refusals: list[Refusal | None]) -> list[Finding]:
    """The largest tensor that the Edge TPU computes, if it is larger than its memory."""
    computed = [
        (tensor, node)
        for node, refusal in zip(operators, refusals)
        if refusal is None
        for tensor in node.outputs
    ]
    if not computed:
        return []
    tensor, node = max(computed, key=lambda item: item[0].num_elements)
    if tensor.num_elements <= LARGE_ACTIVATION:
        return []
    return [
        Finding(
            "large-activation",
            "warning",
            f"the output of {node.name}, {shown_shape(tensor)}, takes "
            f"{tensor.num_elements / (1 << 20):.1f} MiB; the Edge TPU has about 8 MB of memory, "
            'and the compiler may give up ("large activation tensors in model")',
            f"https://coral.ai/docs/edgetpu/compiler/#parameter-data-caching; {ISSUES}/439; "
            f"{ISSUES}/449",
            node.operator.index,
        )
    ]


def _large_lstms(operators: list[Node], refusals: list[Refusal | None]) -> list[Finding]:
    """LSTMs larger than any that is known to compile."""
    for node, refusal in zip(operators, refusals):
        if refusal is not None or "LSTM" not in node.name:
            continue
        sides = [t.shape[-1] for t in (node.input(0), node.output) if t is not None and t.shape]
        if max(sides, default=0) > LARGE_LSTM:
            return [
                Finding(
                    "large-lstm",
                    "warning",
                    f"the compiler may fail on {node.name} with {max(sides):,} inputs or units: "
                    f"below {LARGE_LSTM:,} is known to compile, above 1,000 to fail",
                    f"{ISSUES}/598; {ISSUES}/654",
                    node.operator.index,
                )
            ]
    return []
