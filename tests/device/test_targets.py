"""The registry of targets: one dict, which everything else that knows of targets reads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_bisenet
from keras_bisenet.targets import DEFAULT_TARGET, TARGETS
from keras_bisenet.targets.target import PRECISIONS

PACKAGE = Path(keras_bisenet.__file__).parent


def test_the_targets():
    assert list(TARGETS) == ["cpu", "coral", "nnapi"]
    assert DEFAULT_TARGET in TARGETS and "toaster" not in TARGETS
    with pytest.raises(KeyError):
        TARGETS["toaster"]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_all_that_others_ask_of_it(name):
    target = TARGETS[name]
    assert target.name == name
    assert target.resize in ("half-pixel", "asymmetric")
    assert target.precisions and set(target.precisions) <= set(PRECISIONS)
    assert target.runner and target.elsewhere and callable(target.assess)


def test_what_targets_differ_in():
    assert {n: t.resize for n, t in TARGETS.items()} == {
        "cpu": "half-pixel",
        "coral": "asymmetric",
        "nnapi": "half-pixel",
    }
    assert [n for n, t in TARGETS.items() if not t.requires_all] == ["cpu"]
    assert [n for n, t in TARGETS.items() if t.integer_only] == ["coral"]
    assert TARGETS["coral"].precisions == ("int8",)
    assert TARGETS["nnapi"].precisions == ("int8", "float16", "float32")


def test_no_other_module_names_a_target():
    """A list of targets, or a branch on one, would have to be found again for the next target."""
    # What the packaged files are called, and what other programs call their own things.
    allowed = {"pretrained"}
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "targets" or part in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in ("coral", "nnapi"):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_the_names_are_at_hand_without_the_rules():
    program = "import sys, keras_bisenet.targets; print(*keras_bisenet.targets.TARGETS); "
    program += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PACKAGE.parent,
    )
    names, loaded = done.stdout.splitlines()
    assert names == "cpu coral nnapi"
    assert not {"numpy", "tflite", "flatbuffers", "click"}.intersection(loaded.split())
