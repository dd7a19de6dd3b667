"""The examples of docs/api.md that need the training half run as they stand."""

from __future__ import annotations

import shutil

from api_examples import run_examples

import keras_bisenet


def test_the_examples_of_the_training_half_run(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(streets, "streets")
    printed, namespace = run_examples("The training half")
    shape, trained, scored, compared = (text for text in printed if text)
    assert shape == "(None, 64, 96, 11)\n"
    assert trained == scored == "True\n"
    assert compared == "2 True\n"
    assert namespace["image"].shape == (64, 96, 3)


def test_every_public_name_is_there():
    for name in keras_bisenet.__all__:
        assert getattr(keras_bisenet, name) is not None
