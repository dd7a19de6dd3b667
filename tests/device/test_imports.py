"""The import rule: downwards only, and no TensorFlow in the half that runs on a device."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import keras_bisenet

PACKAGE = Path(keras_bisenet.__file__).parent

# From the top. A module imports from its own package and from those in lower rows.
LAYERS = (
    ("cli",),
    ("reports", "segmenters"),
    ("export",),
    ("quantization",),
    ("training",),
    ("data", "models"),
    # --- the device half: nothing below imports anything above ---
    ("web",),
    ("targets",),
    ("runtime",),
    ("lite",),
    ("class_weights", "imaging"),
    ("pretrained",),
    ("console", "files", "label_map", "progress"),
    ("errors", "version"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

DEVICE_HALF = ("imaging", "lite", "runtime", "targets", "web")

HEAVY = ("tensorflow", "keras", "tf_keras", "jax", "tensorflow_model_optimization")


def modules(*packages):
    """Names of the modules of some packages, and of the packages."""
    found = []
    for package in packages:
        found.append(f"keras_bisenet.{package}")
        for module in pkgutil.iter_modules([str(PACKAGE / package)]):
            found.append(f"keras_bisenet.{package}.{module.name}")
    return found


def parsed(source: str) -> ast.Module:
    """The syntax tree. Python 3.11 raises SystemError where garbage that is collected meanwhile
    makes one of its own (https://github.com/python/cpython/issues/106905)."""
    try:
        return ast.parse(source)
    except SystemError:
        return ast.parse(source)


def imported_modules(path: Path):
    """Every module of this package that a file imports, at its top or in a function."""
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            # `from keras_bisenet import files` imports the module keras_bisenet.files.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_of_the_package_has_its_place():
    parts = {p.stem for p in PACKAGE.iterdir() if p.name[0] not in "_." and p.name != "py.typed"}
    assert parts == set(RANK)


def test_imports_run_downwards():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == "__init__":  # the package's own lazy names
            continue
        for name in imported_modules(path):
            above, *rest = name.split(".")
            if above != "keras_bisenet" or rest[0] == parts[0]:
                continue
            if RANK[rest[0]] <= RANK[parts[0]]:
                wrong.append(f"{'/'.join(parts)}.py imports {name}")
    assert wrong == []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another, directly or through others (Tarjan's components)."""
    numbers, lows, stack, found = {}, {}, [], []

    def visit(module):
        numbers[module] = lows[module] = len(numbers)
        stack.append(module)
        for other in graph[module]:
            if other not in numbers:
                visit(other)
            if other in stack:
                lows[module] = min(lows[module], lows[other])
        if lows[module] == numbers[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in graph:
        if module not in numbers:
            visit(module)
    return found


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_two_modules_import_each_other():
    """At the top, in functions, or for a type checker alone: all three count."""
    paths = {
        ".".join(("keras_bisenet", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }
    names = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    graph = {
        module: {
            # `from package.module import name` is of the module; `from package import module`, too.
            next((n for n in (name, name.rpartition(".")[0]) if n in names), module)
            for name in imported_modules(path)
        }
        - {module}
        for module, path in names.items()
    }
    assert circles(graph) == []


def test_the_device_half_imports_nothing_of_the_training_half():
    training_half = {name for name, rank in RANK.items() if rank < RANK["web"]}
    assert training_half >= {"training", "data", "models", "quantization", "export", "cli"}
    for package in DEVICE_HALF:
        for path in (PACKAGE / package).rglob("*.py"):
            for name in imported_modules(path):
                above, *rest = name.split(".")
                assert above != "keras_bisenet" or rest[0] not in training_half, (path, name)


def test_the_quantization_alone_imports_keras_2_and_tfmot():
    for path in PACKAGE.rglob("*.py"):
        imported = {name.split(".")[0] for name in imported_modules(path)}
        if imported & {"tf_keras", "tensorflow_model_optimization"}:
            assert path.parent.name == "quantization", path


def loaded_by(*names) -> set[str]:
    """What a fresh interpreter has loaded after importing these modules."""
    program = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1:]]; "
    program += "print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", program, *names]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("packages", [(), ("cli",), DEVICE_HALF, ("cli", *DEVICE_HALF)])
def test_the_device_half_loads_no_tensorflow(packages):
    names = set(modules(*packages)) - {"keras_bisenet.export.convert"}
    assert not loaded_by("keras_bisenet", *names).intersection(HEAVY)


def test_the_command_line_itself_loads_no_more_than_click():
    loaded = loaded_by("keras_bisenet.cli")
    assert not loaded.intersection({*HEAVY, "numpy", "PIL", "flatbuffers", "tflite", "yaml"})
    assert "click" in loaded


def test_help_answers_at_once():
    program = "from keras_bisenet.cli import main; main(['--help'], prog_name='keras-bisenet')"
    seconds = {"help": [], "click": []}
    for _ in range(5):
        for name, source in (("help", program), ("click", "import click")):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", source],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                cwd=PACKAGE.parent,
            )
            seconds[name].append(time.perf_counter() - started)
            if name == "help":
                assert "Usage: keras-bisenet" in done.stdout and "quantize" in done.stdout
    assert min(seconds["help"]) - min(seconds["click"]) < 0.3
