"""What an installation brings, by the project's own files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_bisenet
from keras_bisenet.errors import UserError
from keras_bisenet.pretrained import pretrained_weights
from keras_bisenet.runtime import interpreter

ROOT = Path(keras_bisenet.__file__).parents[1]
MIB = 2**20


def requirements(machine: str) -> dict[str, str]:
    """The device half's requirements on a machine: name -> versions."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = map(packaging.Requirement, project["dependencies"])
    wanted = [r for r in every if not r.marker or r.marker.evaluate({"platform_machine": machine})]
    assert len({r.name for r in wanted}) == len(wanted)
    return {r.name: str(r.specifier) for r in wanted}


def test_no_line_repeats_a_version_that_the_project_does_not_have():
    """Where tools, documents and messages name one, it is that of pyproject.toml."""
    asked = re.compile(r"(?<![\w.-])([a-z][a-z0-9-]+)((?:[<>]=?\d[\d.]*,?)+)")

    def asked_by(path):
        found = asked.findall(path.read_text(encoding="utf-8"))
        return {(name, each) for name, every in found for each in every.strip(",").split(",")}

    project = asked_by(ROOT / "pyproject.toml")
    assert {("numpy", ">=1.23"), ("numpy", "<2")} <= project
    texts = [ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    texts += [*ROOT.glob("docs/*.md"), *ROOT.glob("tools/*"), *ROOT.glob("keras_bisenet/**/*.py")]
    names = {name for name, _ in project}
    assert {"av", "ai-edge-litert", "opencv-python-headless", "pytest"} <= names
    others = {path: asked_by(path) - project for path in texts if path.is_file()}
    assert ("pillow", ">=10.1") in asked_by(ROOT / "Makefile")
    assert {p: f for p, found in others.items() if (f := {w for w in found if w[0] in names})} == {}


def test_the_emulated_pi_gets_what_a_pi_gets():
    """The device half's requirements, and PyAV, as tools/check_pi.sh hands them to pip."""
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("no bash here")
    tool = ROOT / "tools" / "check_pi.sh"
    parts = re.findall(
        r"^(WHEELS=.*?$|requirements\(\) .*?^})", tool.read_text(), re.DOTALL | re.MULTILINE
    )
    program = "\n".join(["set -eo pipefail", f"HERE={tool.parent}", *parts])

    def answer(*names):
        command = [bash, "-c", f'{program}\nrequirements "$@"', "bash", *names]
        return subprocess.run(command, capture_output=True, text=True)

    lines = answer(*re.search(r"\((.*)\)", parts[0])[1].split()).stdout.splitlines()
    expected = {f"{name}{versions}" for name, versions in requirements("aarch64").items()}
    (av,) = re.findall(r'"(av>=.*?)"', (ROOT / "pyproject.toml").read_text())
    assert set(lines) == {*expected, av}
    assert answer("click", "nothing", "av").returncode != 0


def test_no_line_asks_a_registry_for_the_package():
    """None has it: what README, docs and messages say must do in a checkout."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    texts += ROOT.glob("keras_bisenet/**/*.py")
    asks = re.compile(r"install (-\S+ )*['\"]?keras-bisenet")
    assert "install ." in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path for path in texts if asks.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64", "AMD64"])
def test_a_64_bit_machine_gets_litert(machine):
    wanted = requirements(machine)
    assert "ai-edge-litert" in wanted and "tflite-runtime" not in wanted
    assert "<2" not in wanted["numpy"]


def test_where_tflite_runtime_is_the_runtime_numpy_is_1():
    wanted = requirements("armv7l")
    assert "tflite-runtime" in wanted and "ai-edge-litert" not in wanted
    assert "<2" in wanted["numpy"]


def test_the_device_half_is_small():
    """What `pip install .` would put on a device: the package's tracked files."""
    listed = subprocess.run(
        ["git", "ls-files", "keras_bisenet"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("no git checkout: what belongs to the package is not known")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 6 * MIB


def test_float_weights_are_found_in_a_checkout():
    assert pretrained_weights("camvid").stat().st_size > MIB


def test_missing_float_weights_say_how_to_get_them():
    with pytest.raises(UserError, match=r"pip install \./weights"):
        pretrained_weights("nowhere")


def test_tflite_runtime_refuses_numpy_2_before_it_crashes(monkeypatch):
    """With NumPy 2 it imports, and the first model ends in a SystemError."""
    monkeypatch.setattr(interpreter.np, "__version__", "2.1.3")
    with pytest.raises(UserError, match=r"NumPy 2\.1\.3 is installed: pip install 'numpy<2'"):
        interpreter._import_runtime("tflite-runtime")


def test_a_32_bit_python_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(interpreter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="64-bit Raspberry Pi OS"):
        interpreter._runtime()
