#!/usr/bin/env python3
"""Holds `keras-bisenet check --target coral` against what the real Edge TPU compiler did.

    tools/compare_edgetpu.py DIR [--json FILE]

DIR is searched for pairs: X.tflite with X_edgetpu.tflite, which the compiler made of it, or with
X_edgetpu.log, what it said of it. The source is looked for beside the compiled file, else in the
closest folder around it that holds one of that name. A compiled file tells which operators were
left on the CPU; a log, which is read where there is no compiled file, how many of each type. Of
each pair `check` predicts the same from X.tflite alone.

Prints a table by the kind of pair, and each pair that was not predicted to the operator. A miss
towards the CPU says less of a file than is true of it; one towards the Edge TPU promises too much.

Left out of the count, and listed: pairs whose files do not belong together, and files of several
partitions, which the compiler makes with `-a` alone; `check` predicts its default flags.

Exit status: 0 when no pair is missed towards the Edge TPU, 1 when one is, 2 on bad usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.errors import UserError
from keras_bisenet.lite.model_file import ModelFile, Subgraph, read_model_file
from keras_bisenet.runtime.delegates import EDGETPU_OPERATOR
from keras_bisenet.targets.check import Verdict, check

WHOLE = "mapped everything"
EDGES = "left only QUANTIZE and DEQUANTIZE of float inputs and outputs"
CUSTOM = "left only custom operators (and such QUANTIZE and DEQUANTIZE)"
NOTHING = "mapped nothing"
PART = "mapped a part, and left other operators"
KINDS = (WHOLE, EDGES, CUSTOM, NOTHING, PART)

EXACT, TOWARDS_CPU, TOWARDS_TPU = "exact", "towards the CPU", "towards the Edge TPU"


def main(arguments=None) -> int:
    options = parse(arguments)
    pairs, left_out = [], []
    for source, compiled in find_pairs(options.folder):
        name = str(compiled.relative_to(options.folder))
        try:
            pairs.append(compare(name, source, compiled))
        except (LeftOut, UserError) as reason:
            left_out.append((name, str(reason)))
    if options.json:
        Path(options.json).write_text(json.dumps(to_json(pairs, left_out), indent=2) + "\n")
    print("\n".join(lines(pairs, left_out)))
    return 1 if any(pair.result == TOWARDS_TPU for pair in pairs) else 0


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"Error: {message} ({self.prog} --help)\n")


def parse(arguments) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder with the pairs")
    parser.add_argument("--json", metavar="FILE", help="also write every pair for programs")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    return options


# === Pairs ===


class LeftOut(Exception):
    """Why a pair says nothing of the prediction."""


@dataclass(frozen=True)
class Pair:
    """What the compiler did with a file, and what was predicted.

    Attributes:
        name: The compiled file, or the log.
        kind: One of `KINDS`.
        left: The operators that the compiler left on the CPU, by type.
        predicted: Those that `check` says are left.
        result: `EXACT`, `TOWARDS_CPU` or `TOWARDS_TPU`.
        gaps: For a miss towards the CPU, the reasons of the operators that are predicted in vain.
    """

    name: str
    kind: str
    left: Counter
    predicted: Counter
    result: str
    gaps: tuple[str, ...] = ()


COMPILED = re.compile(r"(.+)[_-]edgetpu\.(tflite|log)")


def find_pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each source with its compiled file, or where there is none with its log; none twice."""
    sources: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.tflite")):
        sources.setdefault(path.name, []).append(path)
    seen = set()
    for compiled in sorted(folder.rglob("*edgetpu.*")):
        name = COMPILED.fullmatch(compiled.name)
        if name is None or (name[2] == "log" and compiled.with_suffix(".tflite").is_file()):
            continue
        source = nearest(sources.get(f"{name[1]}.tflite", []), compiled)
        if source is None:
            continue
        digest = hashlib.sha256(source.read_bytes() + compiled.read_bytes()).digest()
        if digest not in seen:
            seen.add(digest)
            yield source, compiled


def nearest(candidates: list[Path], compiled: Path) -> Path | None:
    """The one candidate in the closest folder around `compiled`; None where there are several."""
    for parent in compiled.parents:
        inside = [path for path in candidates if parent in path.parents]
        beside = [path for path in inside if path.parent == compiled.parent]
        if inside:
            return beside[0] if beside else inside[0] if len(inside) == 1 else None
    return None


def compare(name: str, source: Path, compiled: Path) -> Pair:
    """Compares the prediction for `source` with what the compiler did.

    Raises:
        LeftOut: When the pair is none, or was compiled with other flags.
        UserError: When one of the two cannot be read.
    """
    verdict = check(source, "coral")
    original = read_model_file(source)
    predicted = Counter(o.name for o in verdict.operators if not o.mapped)
    if compiled.suffix == ".log":
        left = left_by_log(original, compiled)
        wrong = predicted != left
        too_few = left - predicted
    else:
        left, names = left_by_file(original, compiled)
        expected = {
            t.name for o in verdict.operators if not o.mapped for t in o.outputs if t.name in names
        }
        wrong = predicted != left or expected != names & outputs_of(original)
        too_few = (left - predicted) or (names & outputs_of(original)) - expected
    kind = kind_of(original, left, verdict.total)
    if not wrong:
        return Pair(name, kind, left, predicted, EXACT)
    if too_few:
        return Pair(name, kind, left, predicted, TOWARDS_TPU)
    return Pair(name, kind, left, predicted, TOWARDS_CPU, gaps(verdict, predicted - left))


def outputs_of(model: ModelFile) -> set[str]:
    main = model.main
    return {main.tensors[t].name for o in main.operators for t in o.outputs if t >= 0}


def left_by_file(original: ModelFile, compiled: Path) -> tuple[Counter, set[str]]:
    """The operators that a compiled file still has, by type, and the names of their outputs."""
    source, main = original.main, read_model_file(compiled).main
    partitions = sum(operator.name == EDGETPU_OPERATOR for operator in main.operators)
    if partitions > 1:
        raise LeftOut(f"{partitions} partitions: compiled with other flags")
    for ours, theirs in (
        (original.main.inputs, main.inputs),
        (original.main.outputs, main.outputs),
    ):
        if [original.main.tensors[t].shape for t in ours] != [
            main.tensors[t].shape for t in theirs
        ]:
            raise LeftOut("compiled from another file: its inputs or outputs differ")
    left = [operator for operator in main.operators if operator.name != EDGETPU_OPERATOR]
    if len(left) > len(source.operators):
        raise LeftOut("compiled from another file: it has more operators")
    names = {main.tensors[t].name for operator in left for t in operator.outputs if t >= 0}
    return Counter(operator.name for operator in left), names


def shapes(graph: Subgraph, tensors: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [graph.tensors[tensor].shape for tensor in tensors]


LOG_ROW = re.compile(r"^([A-Z0-9_a-z-]+)\s+(\d+)\s+(.+?)\s*$")


def left_by_log(original: ModelFile, log: Path) -> Counter:
    """The operators that a log says were not mapped, by type."""
    rows = [
        (found[1], int(found[2]), found[3])
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if (found := LOG_ROW.match(line)) and found[1] != "Operator"
    ]
    if not rows:
        raise LeftOut("the log names no operator: the compilation failed, or it was cut off")
    counts = Counter()
    for name, count, _ in rows:
        counts[name] += count
    ours = Counter(operator.name for operator in original.main.operators)
    if {name: ours[name] for name in counts if name.isupper()} != {
        name: count for name, count in counts.items() if name.isupper()
    }:
        raise LeftOut("the log of another file: it counts other operators")
    left = Counter()
    for name, count, status in rows:
        if status != "Mapped to Edge TPU":
            left[name] += count
    return left


def kind_of(original: ModelFile, left: Counter, total: int) -> str:
    if not left:
        return WHOLE
    if sum(left.values()) == total:
        return NOTHING
    floats = any(t.is_float for t in (*original.inputs, *original.outputs))
    custom = {o.name for o in original.main.operators if o.is_custom} | {"CUSTOM"}
    others = set(left) - ({"QUANTIZE", "DEQUANTIZE"} if floats else set())
    if not others:
        return EDGES
    return CUSTOM if others <= custom else PART


def gaps(verdict: Verdict, in_vain: Counter) -> tuple[str, ...]:
    """The reasons for operators of some types, each once."""
    reasons = {
        f"{o.name}: {o.reason}": None
        for o in verdict.operators
        if not o.mapped and o.name in in_vain
    }
    return tuple(reasons)


# === The table ===


def lines(pairs: list[Pair], left_out: list[tuple[str, str]]) -> list[str]:
    shown = [
        "| what the compiler did | pairs | exact | towards the CPU | towards the Edge TPU |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        results = Counter(pair.result for pair in pairs if pair.kind == kind)
        shown.append(_row(kind, results))
    shown.append(_row("together", Counter(pair.result for pair in pairs)))
    for result in (TOWARDS_TPU, TOWARDS_CPU):
        missed = [pair for pair in pairs if pair.result == result]
        if missed:
            shown += ["", f"{result}:"]
        for pair in missed:
            shown.append(f"  {pair.name}")
            shown.append(f"    the compiler left {_counts(pair.left)}")
            shown.append(f"    check predicts    {_counts(pair.predicted)}")
            shown += [f"    {reason}" for reason in pair.gaps]
    if left_out:
        shown += ["", "left out:", *(f"  {name}: {reason}" for name, reason in left_out)]
    return shown


def _row(name: str, results: Counter) -> str:
    cells = (sum(results.values()), results[EXACT], results[TOWARDS_CPU], results[TOWARDS_TPU])
    return f"| {name} | {' | '.join(map(str, cells))} |"


def _counts(operators: Counter) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(operators.items())) or "nothing"


def to_json(pairs: list[Pair], left_out: list[tuple[str, str]]) -> dict:
    return {
        "pairs": [
            {
                "name": pair.name,
                "kind": pair.kind,
                "result": pair.result,
                "left": dict(pair.left),
                "predicted": dict(pair.predicted),
                "gaps": list(pair.gaps),
            }
            for pair in pairs
        ],
        "left_out": [{"name": name, "reason": reason} for name, reason in left_out],
    }


if __name__ == "__main__":
    sys.exit(main())
