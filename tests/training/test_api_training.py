"""The examples of docs/api.md that need the training half run as they stand."""

from __future__ import annotations

import shutil

from api_examples import run_examples

import keras_bisenet


def test_the_examples_of_the_training_half_run(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(streets, "streets")
    printed, namespace = run_examples("The training half")
    # Of each example the last line: above it, training and quantizing tell of their progress.
    model, _, train, score, _, compare = (text.splitlines()[-1:] for text in printed)
    assert model == ["(None, 64, 96, 11)"]
    assert train == score == ["True"]
    assert compare == ["2 True"]
    assert namespace["image"].shape == (64, 96, 3)


def test_every_public_name_is_there():
    for name in keras_bisenet.__all__:
        assert getattr(keras_bisenet, name) is not None
