"""Classes in another order, wherever a run or a file meets a data set; and other classes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.errors import UserError
from keras_bisenet.training.run import Run


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def reordered(streets, tmp_path_factory):
    """The streets as a data set of the kind `folder`, with their classes from the last."""
    directory = tmp_path_factory.mktemp("reordered")
    for split in ("train", "val"):
        (directory / split).mkdir()
        (directory / split / "images").symlink_to(streets / split)
        (directory / split / "masks").symlink_to(streets / f"{split}annot")
    labels = load_dataset("streets", streets).label_map
    rows = [f"{name},{number}" for name, number in zip(labels.names, labels.file_ids)]
    (directory / "classes.csv").write_text("\n".join(["name,id", *rows[::-1], "void,11"]))
    assert load_dataset("folder", directory).label_map.names == labels.names[::-1]
    return directory


@pytest.fixture(scope="module")
def renamed(reordered, tmp_path_factory):
    """The same, and the road has another name."""
    directory = tmp_path_factory.mktemp("renamed") / "data"
    shutil.copytree(reordered, directory, symlinks=True)
    text = (directory / "classes.csv").read_text()
    (directory / "classes.csv").write_text(text.replace("Road", "Canal"))
    return directory


def scores(model, tmp_path, *options):
    result = run("evaluate", model, *options, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "scores.json").read_text()), result.output


@pytest.mark.parametrize("kind", ["run", "keras", "tflite"])
def test_a_score_does_not_depend_on_the_order(request, float_run, reordered, tmp_path, kind):
    model = float_run.path
    size = []
    if kind == "keras":
        model, size = model / "model.keras", ["--size", "64x96"]
    elif kind == "tflite":
        model = request.getfixturevalue("float_file")
    folder = ["--dataset", "folder", "--data-dir", reordered]
    streets = ["--dataset", "streets", "--data-dir", float_run.config.data_dir]
    expected, _ = scores(model, tmp_path, *streets, *size)
    found, output = scores(model, tmp_path, *folder, *size)
    assert found["miou"] == expected["miou"] > 0.05
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    assert "they are matched by name" in output


def test_other_classes_are_refused(float_run, renamed, tmp_path):
    arguments = ["evaluate", float_run.path, "--dataset", "folder", "--data-dir", renamed]
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        f"Error: {float_run.path}: its classes are not those of folder, which has 'Bicyclist' for "
        "'Sky', 'Pedestrian' for 'Building', 'Car' for 'Pole', 'Fence' for 'Road' and 6 more: "
        "choose the data set that it was trained on, or compare by number with --any-classes"
    )
    for command in (
        ["quantize", float_run.path, "--run", tmp_path / "q"],
        ["report", float_run.path, "-o", tmp_path / "r.html"],
    ):
        moved = _with_data(float_run, renamed, tmp_path / command[0])
        command[1] = moved.path
        result = run(*command)
        assert result.exit_code == 1 and "its classes are not those of" in result.output
    assert not (tmp_path / "q").exists() and not (tmp_path / "r.html").exists()


def _with_data(source, directory, path) -> Run:
    shutil.copytree(source.path, path)
    moved = Run.open(path)
    config = dataclasses.replace(moved.config, dataset="folder", data_dir=str(directory))
    from keras_bisenet.training.config import write_config

    write_config(moved.config_file, config)
    return moved


def test_a_run_reads_its_data_in_its_own_order(float_run, reordered, renamed, tmp_path):
    """What training that goes on, quantizing and comparing read."""
    own = float_run.load_dataset()
    moved = _with_data(float_run, reordered, tmp_path / "a")
    dataset = moved.load_dataset()
    assert dataset.label_map.names == own.label_map.names
    for one, two in zip(own.split("train"), dataset.split("train")):
        np.testing.assert_array_equal(own.read(one)[1], dataset.read(two)[1])
    with pytest.raises(UserError, match="its classes are not those of"):
        _with_data(float_run, renamed, tmp_path / "b").load_dataset()
    by_number = Run.open(tmp_path / "b", any_classes=True).load_dataset()
    assert by_number.label_map.names[0] == "Bicyclist"


def test_resume_compares_classes_before_work(float_run, renamed, tmp_path):
    moved = _with_data(float_run, renamed, tmp_path / "a")
    result = run("train", "--run", moved.path, "--resume")
    assert result.exit_code == 1 and "its classes are not those of" in result.output


def test_resume_goes_on_with_moved_data(float_run, streets, tmp_path):
    """All epochs are done, so that it ends at once."""
    shutil.copytree(float_run.path, tmp_path / "run")
    shutil.copytree(streets, tmp_path / "moved")
    result = run("train", "--run", tmp_path / "run", "--resume", "--data-dir", tmp_path / "moved")
    assert result.exit_code == 0 and "best val mIoU" in result.output, result.output
    assert Run.open(tmp_path / "run").config.data_dir == str(tmp_path / "moved")
