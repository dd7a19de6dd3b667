"""What each target runs of a `.tflite` file: the rules, each with its source, one module a target.

Every target module has `assess(model)`, which answers with an `Assessment`: for each operator of
the main graph whether the target takes it, and what else there is to say of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_bisenet.targets.graph import Node

TFLITE = "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite"
"""Where the rules of TFLite and its delegates are read from."""

PARTITIONING = f"{TFLITE}/graph_info.cc (PartitionGraphIntoIndependentNodeSubsets)"


@dataclass(frozen=True)
class Finding:
    """Something about a file that its user should know.

    Attributes:
        rule: The rule's short name.
        severity: "error" when the file falls short of its target, "warning" when it may, "note"
            otherwise.
        message: One sentence.
        source: Where the rule is written down.
        operator: The index of the operator in question; None when it is about the file.
    """

    rule: str
    severity: str
    message: str
    source: str = ""
    operator: int | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a target does not take an operator.

    Attributes:
        rule: The rule's short name.
        reason: What the rule says of this operator.
        source: Where the rule is written down.
    """

    rule: str
    reason: str
    source: str


@dataclass(frozen=True)
class Assessment:
    """What a target makes of a file.

    Attributes:
        refusals: For each operator of the main graph None where the target takes it, else why it
            does not.
        findings: What else there is to say.
    """

    refusals: tuple[Refusal | None, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A condition that an operator must meet.

    Attributes:
        name: A short name.
        source: Where it is written down.
        refuses: Returns the reason when the operator does not meet it, else None.
    """

    name: str
    source: str
    refuses: Callable[[Node], str | None]

    def refusal(self, node: Node) -> Refusal | None:
        reason = self.refuses(node)
        return None if reason is None else Refusal(self.name, reason, self.source)


def first_refusal(rules: Sequence[Rule], node: Node) -> Refusal | None:
    """The refusal by the first of `rules` that `node` does not meet."""
    for rule in rules:
        refusal = rule.refusal(node)
        if refusal is not None:
            return refusal
    return None
