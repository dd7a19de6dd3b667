"""The vectors in `conformance/` are what the code gives today."""

from __future__ import annotations

import base64
import importlib.util
import json
import platform
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_bisenet.runtime.interpreter import runtime_name

ROOT = Path(__file__).parents[2]
STORED = ROOT / "conformance"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The vectors, made again."""
    tool = ROOT / "tools" / "make_conformance.py"
    spec = importlib.util.spec_from_file_location("make_conformance", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("conformance")
    module.make(folder)
    return folder


def pngs(folder: Path, prefix: str = "") -> dict[str, np.ndarray]:
    found = sorted(folder.rglob("*.png"))
    pictures = {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in found}
    return {name: picture for name, picture in pictures.items() if name.startswith(prefix)}


def test_every_stored_picture_is_one_that_the_tool_makes(made):
    assert list(pngs(made)) == list(pngs(STORED))


@pytest.mark.parametrize("name", ["letterbox", "class_ids", "legend"])
def test_vectors_are_made_again(made, name):
    text = (STORED / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads((made / f"{name}.json").read_text(encoding="utf-8")) == json.loads(text)
    stored = pngs(STORED, f"{name}/") | pngs(STORED, "images/")
    for path, picture in (pngs(made, f"{name}/") | pngs(made, "images/")).items():
        np.testing.assert_array_equal(picture, stored[path], err_msg=path)


def test_answers_are_given_again(made):
    again = json.loads((made / "answers.json").read_text(encoding="utf-8"))
    stored = json.loads((STORED / "answers.json").read_text(encoding="utf-8"))
    same_kernels = (again["runtime"], again["machine"]) == (stored["runtime"], stored["machine"])
    assert (again["machine"], again["runtime"]) == (platform.machine(), runtime_name())
    assert again["model_sha256"] == stored["model_sha256"]
    assert again["output"] == stored["output"] == {"shape": [8, 12, 11], "dtype": "int8"}
    for new, old in zip(again["cases"], stored["cases"]):
        owed = ("image", "input_sha256", "reference_output")
        assert [new[key] for key in owed] == [old[key] for key in owed]
        path = old["reference_class_ids"]
        np.testing.assert_array_equal(pngs(made)[path], pngs(STORED)[path])
        one, other = (np.frombuffer(base64.b64decode(c["output"]), np.int8) for c in (new, old))
        if same_kernels:
            np.testing.assert_array_equal(one, other)
        assert np.abs(one.astype(int) - other).max() <= 4
