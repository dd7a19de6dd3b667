"""Starting from trained weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_bisenet.cli import main
from keras_bisenet.errors import UserError
from keras_bisenet.models.bisenetv2 import bisenetv2
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model
from keras_bisenet.training.trainer import start_from
from keras_bisenet.training.weights import copy_trained

SMALL = {"alpha": 0.125, "head_width": 8}


def filled(value, num_classes=5, **options):
    """A network all of whose weights are `value`."""
    model = bisenetv2(num_classes, (64, 64, 3), **{**SMALL, **options})
    model.set_weights([np.full(w.shape, value, np.float32) for w in model.weights])
    return model


def values(model) -> dict[str, float]:
    return {x.name: float(x.get_weights()[0].mean()) for x in model.layers if x.weights}


def test_all_layers_of_the_same_classes():
    source, target = filled(1.0, boosters=True), filled(0.0, boosters=True)
    assert copy_trained(source, target) == []
    assert set(values(target).values()) == {1.0}


def test_all_layers_but_the_head_of_other_classes():
    target = filled(0.0, num_classes=3)
    assert copy_trained(filled(1.0), target) == ["head_logits"]
    assert {name for name, value in values(target).items() if value == 0} == {"head_logits"}


def test_boosters_that_the_source_lacks_start_anew():
    target = filled(0.0, boosters=True)
    fresh = copy_trained(filled(1.0), target)
    assert fresh and all(name.startswith("booster_") for name in fresh)
    assert {name for name, value in values(target).items() if value == 0} == set(fresh)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "wide.keras"
    filled(1.0, alpha=0.25).save(path)
    message = rf"^{path}: the weights of another model \(layer \w+ is .*\): choose its --model"
    with pytest.raises(UserError, match=message):
        start_from(str(path), filled(0.0))


def test_a_run_starts_where_another_ended(tmp_path, float_run, tiny, command):
    """With a learning rate of almost 0 the weights stay what they were."""
    from keras_bisenet.training.config import write_config

    write_config(tmp_path / "config.yaml", tiny(epochs=1, boosters=False, learning_rate=1e-9))
    options = ("--config", tmp_path / "config.yaml", "--weights", float_run.path)
    output = command("train", "--run", tmp_path / "run", *options)
    assert f"starting from {float_run.model_file}" in output
    run = Run(tmp_path / "run")
    assert run.config.weights == str(float_run.path)
    kernel, source = (
        load_model(r.model_file).get_layer("detail_s2_1").get_weights()[0] for r in (run, float_run)
    )
    np.testing.assert_allclose(kernel, source, atol=1e-6)
    keras.utils.clear_session()


def test_boosters_train_and_are_left_behind(float_run):
    assert float_run.config.boosters
    layers = load_model(float_run.model_file).layers
    assert not [layer.name for layer in layers if layer.name.startswith("booster")]
    # Five outputs share in the loss.
    assert all(row["loss"] > 4 for row in float_run.read_metrics())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "nowhere",
            "nowhere: no such weights: give a run directory, a .keras file, or one of camvid, "
            "camvid-small",
        ),
        (".", ".: no run directory (it has no config.yaml): train one first"),
    ],
)
def test_weights_that_are_not_there_make_no_run(tmp_path, streets, source, message):
    options = ["--dataset", "streets", "--data-dir", str(streets), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["train", *options, "--weights", source])
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, f"Error: {message}")
    assert not (tmp_path / "run").exists()
