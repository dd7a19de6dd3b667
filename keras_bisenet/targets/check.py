"""Whether a `.tflite` file, whoever made it, runs on its target as a whole.

`check` reads the file, asks the target's rules what becomes of each operator, and adds what is
worth knowing of any file: floating-point islands, shapes that are not static, tensors that are
not 8-bit, what it lacks in metadata. The file is not trusted: a damaged or hostile one ends in a
verdict like any other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.lite.model_file import ModelFile, Tensor, read_model_file
from keras_bisenet.lite.record import DeploymentRecord, read_record
from keras_bisenet.targets import DEFAULT_TARGET, TARGETS
from keras_bisenet.targets.graph import (
    Node,
    computed_shape,
    nodes,
    producers,
    shown_shape,
    shown_type,
)
from keras_bisenet.targets.rules import TFLITE, Finding, Refusal
from keras_bisenet.targets.target import Target

SEVERITIES = ("error", "warning", "note")

DESIGN_RULE = "https://coral.ai/docs/edgetpu/models-intro/#compatibility-overview"
METADATA_STANDARD = "https://ai.google.dev/edge/litert/models/metadata"
QUANTIZATION = "https://ai.google.dev/edge/litert/models/quantization_spec"
INT64_REFUSED = f"{TFLITE}/delegates/nnapi/nnapi_delegate.cc (Validate)"


@dataclass(frozen=True)
class OperatorVerdict:
    """What becomes of one operator.

    Attributes:
        index: Its place in the order of execution.
        name: Its name, or a custom operator's code.
        version: Its version.
        outputs: The tensors that it computes.
        refusal: None when the target takes it, else why not.
    """

    index: int
    name: str
    version: int
    outputs: tuple[Tensor, ...]
    refusal: Refusal | None

    @property
    def mapped(self) -> bool:
        return self.refusal is None

    @property
    def reason(self) -> str:
        return self.refusal.reason if self.refusal else ""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a file.

    Attributes:
        target: The target that it was checked for.
        operators: The operators of the main graph.
        findings: What there is to say, the worst first.
    """

    target: str
    operators: tuple[OperatorVerdict, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def total(self) -> int:
        return len(self.operators)

    @property
    def mapped(self) -> int:
        return sum(operator.mapped for operator in self.operators)

    def with_findings(self, findings: Iterable[Finding]) -> Verdict:
        return replace(self, findings=_sorted((*self.findings, *findings)))

    def to_json(self) -> dict:
        return {
            "target": self.target,
            "passed": self.passed,
            "total": self.total,
            "mapped": self.mapped,
            "operators": [
                {
                    "index": operator.index,
                    "op": operator.name,
                    "version": operator.version,
                    "mapped": operator.mapped,
                    "rule": operator.refusal.rule if operator.refusal else "",
                    "reason": operator.reason,
                    "source": operator.refusal.source if operator.refusal else "",
                }
                for operator in self.operators
            ],
            "findings": [
                {
                    "rule": finding.rule,
                    "severity": finding.severity,
                    "operator": finding.operator,
                    "message": finding.message,
                    "source": finding.source,
                }
                for finding in self.findings
            ],
        }


def check(path: str | os.PathLike, target: str | None = None) -> Verdict:
    """Checks a `.tflite` file against the rules of a target.

    Args:
        path: The file.
        target: One of `TARGETS`; None takes what the file itself was made for, and "cpu" where
            it does not say.

    Returns:
        The verdict; for a file that is no TFLite model too.

    Raises:
        UsageError: When there is no such target.
        UserError: When there is no such file, or for `cpu` no TFLite runtime.
    """
    if target is not None and target not in TARGETS:
        raise UsageError(f"no target {target!r}: choose one of {', '.join(TARGETS)}")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        model = read_model_file(path)
    except UserError as error:
        broken = Finding("file", "error", str(error).replace(f"{path}: ", "", 1))
        return Verdict(target or DEFAULT_TARGET, (), (broken,))
    record, findings = _record(model)
    if target is None:
        target = record.target if record and record.target in TARGETS else DEFAULT_TARGET
    wanted = TARGETS[target]
    assessment = wanted.assess(model)
    operators = tuple(
        OperatorVerdict(node.operator.index, node.name, node.version, node.outputs, refusal)
        for node, refusal in zip(nodes(model), assessment.refusals)
    )
    strict = wanted.integer_only or (record is not None and record.precision == "int8")
    findings += assessment.findings
    if wanted.requires_all:
        findings += _unmapped(operators, wanted.following_rules)
    findings += _of_any_file(model, strict, wanted)
    return Verdict(target, operators, _sorted(findings))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                SEVERITIES.index(f.severity),
                -1 if f.operator is None else f.operator,
            ),
        )
    )


def _record(model: ModelFile) -> tuple[DeploymentRecord | None, tuple[Finding, ...]]:
    try:
        record = read_record(model)
    except UserError as error:
        reason = str(error).replace(f"{model.path}: ", "", 1)
        return None, (Finding("metadata", "error", reason, METADATA_STANDARD),)
    if record is None:
        missing = "it has no record of how to feed it and what its classes are"
        return None, (Finding("metadata", "note", missing, METADATA_STANDARD),)
    return record, ()


def _unmapped(
    operators: tuple[OperatorVerdict, ...], following: tuple[str, ...]
) -> tuple[Finding, ...]:
    """One finding for each rule that operators break, and one for all that only stand behind."""
    followers = [(o, o.refusal) for o in operators if o.refusal and o.refusal.rule in following]
    alike: dict[tuple[str, Refusal], list[int]] = {}
    for operator in operators:
        if operator.refusal and operator.refusal.rule not in following:
            alike.setdefault((operator.name, operator.refusal), []).append(operator.index)
    findings = [
        Finding(
            refusal.rule,
            "error",
            f"{name} does not map: {refusal.reason}{_and_more(indices)}",
            refusal.source,
            indices[0],
        )
        for (name, refusal), indices in alike.items()
    ]
    if followers:
        first, refusal = followers[0]
        findings.append(
            Finding(
                refusal.rule,
                "error",
                f"{len(followers)} of {len(operators)} operators could be mapped, but are not; the "
                f"first is {first.name}: {refusal.reason}",
                refusal.source,
                first.index,
            )
        )
    return tuple(findings)


def _and_more(indices: list[int]) -> str:
    if len(indices) == 1:
        return ""
    others = ", ".join(map(str, indices[1:6])) + (", ..." if len(indices) > 6 else "")
    return f"; likewise {others}"


# What is worth knowing of any file


def _of_any_file(model: ModelFile, strict: bool, target: Target) -> tuple[Finding, ...]:
    return (
        *_no_operators(model),
        *_subgraphs(model),
        *_custom_operators(model, target),
        *_dynamic_shapes(model, target),
        *_float_islands(model, "error" if strict else "warning"),
        *_other_types(model),
        *_int64_outputs(model),
    )


def _no_operators(model: ModelFile) -> list[Finding]:
    return [] if model.main.operators else [Finding("empty", "error", "it has no operators")]


def _subgraphs(model: ModelFile) -> list[Finding]:
    if len(model.subgraphs) == 1:
        return []
    return [
        Finding(
            "subgraphs",
            "warning",
            f"it has {len(model.subgraphs)} subgraphs; only the first, which runs, is checked",
        )
    ]


def _custom_operators(model: ModelFile, target: Target) -> list[Finding]:
    """Where nothing else refuses them."""
    codes = {node.name for node in nodes(model) if node.operator.is_custom}
    if target.requires_all or not codes:
        return []
    return [
        Finding(
            "custom-operators",
            "warning",
            f"its custom operators ({', '.join(sorted(codes)[:5])}) need a runtime that knows them",
        )
    ]


def _dynamic_shapes(model: ModelFile, target: Target) -> list[Finding]:
    findings = []
    for node in nodes(model):
        reason = computed_shape(node)
        if reason:
            severity = "error" if target.requires_all else "warning"
            message = f"{node.name} has no static shape: {reason}"
            findings.append(
                Finding("dynamic-shapes", severity, message, DESIGN_RULE, node.operator.index)
            )
            break  # what follows inherits it
    for tensor in model.inputs:
        if tensor.is_dynamic:
            sides = tensor.shape_signature or tensor.shape
            findings.append(
                Finding(
                    "dynamic-input",
                    "warning",
                    "its input leaves sides open ("
                    + "x".join("?" if side < 0 else str(side) for side in sides)
                    + f"); it is taken to be {shown_shape(tensor)}",
                    DESIGN_RULE,
                )
            )
    return findings


def _activations(model: ModelFile) -> list[Tensor]:
    """The tensors that operators of the main graph compute."""
    computed = producers(model.main)
    return [tensor for tensor in model.main.tensors if tensor.index in computed]


def _float_islands(model: ModelFile, severity: str) -> list[Finding]:
    """Operators in floating point inside a quantized network, by connected groups.

    Between a float input and the first QUANTIZE, or the last DEQUANTIZE and a float output, is no
    island: only what lies between two quantized tensors is.
    """
    findings = []
    for group in _float_groups(nodes(model)):
        reads_quantized = any(_has_quantized(node.inputs) for node in group)
        if reads_quantized and any(_has_quantized(node.outputs) for node in group):
            names = list(dict.fromkeys(node.name for node in group))
            findings.append(
                Finding(
                    "float-island",
                    severity,
                    f"{len(group)} operators compute in floating point between quantized ones "
                    f"({', '.join(names[:6])})",
                    QUANTIZATION,
                    group[0].operator.index,
                )
            )
    return findings


def _has_quantized(tensors: Iterable[Tensor | None]) -> bool:
    return any(t is not None and t.is_quantized and not t.is_constant for t in tensors)


def _float_groups(operators: list[Node]) -> list[list[Node]]:
    """The operators that float tensors, constants aside, connect; in the order of execution."""
    touching: dict[int, list[int]] = {}
    for position, node in enumerate(operators):
        for tensor in _float_tensors(node):
            touching.setdefault(tensor.index, []).append(position)
    groups, seen = [], set()
    for start, node in enumerate(operators):
        group, pending = [], [start] if _float_tensors(node) else []
        while pending:
            position = pending.pop()
            if position not in seen:
                seen.add(position)
                group.append(position)
                for tensor in _float_tensors(operators[position]):
                    pending.extend(touching.pop(tensor.index, ()))
        if group:
            groups.append([operators[position] for position in sorted(group)])
    return groups


def _float_tensors(node: Node) -> list[Tensor]:
    return [
        t
        for t in (*node.inputs, *node.outputs)
        if t is not None and t.is_float and not t.is_constant
    ]


def _other_types(model: ModelFile) -> list[Finding]:
    """Computed tensors that are not 8-bit, by type."""
    types = Counter(tensor.dtype for tensor in _activations(model))
    others = {dtype: n for dtype, n in types.items() if dtype not in ("INT8", "UINT8")}
    if not others:
        return []
    shown = ", ".join(f"{n} {shown_type(dtype)}" for dtype, n in sorted(others.items()))
    return [
        Finding(
            "not-8-bit",
            "note",
            f"of {sum(types.values())} computed tensors {sum(others.values())} are not 8-bit "
            f"({shown})",
            QUANTIZATION,
        )
    ]


def _int64_outputs(model: ModelFile) -> list[Finding]:
    computed_by = producers(model.main)
    return [
        Finding(
            "int64-output",
            "warning",
            f"its output {shown_shape(tensor)} is int64, 8 bytes for each value: int32 does, and "
            "NNAPI takes nothing else",
            INT64_REFUSED,
            computed_by.get(tensor.index),
        )
        for tensor in model.outputs
        if tensor.dtype == "INT64"
    ]
