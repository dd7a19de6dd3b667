"""tools/compare_training.py: which runs it takes for an arm's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from keras_bisenet.data import load_dataset
from keras_bisenet.training.run import Run

TOOL = Path(__file__).parents[2] / "tools" / "compare_training.py"


@pytest.fixture
def compare(tmp_path, streets):
    """A function that makes a plan of one arm with some options, and follows it without training
    what is missing; and the function that makes a finished run."""
    spec = importlib.util.spec_from_file_location("compare_training", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def train(path, options):
        raise AssertionError(f"{path.name} is trained")

    tool.train = train

    def follow(**options):
        common = {"dataset": "streets", "size": "64x96", "epochs": 3}
        plan = {"common": common, "arms": {"a": options}, "seeds": [0]}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        arguments = [tmp_path / "plan.yaml", "--data-dir", streets, "--work", tmp_path / "work"]
        return CliRunner().invoke(tool.main, [str(argument) for argument in arguments])

    return follow


@pytest.fixture
def finished(tmp_path, streets, tiny):
    def make(mious, **options):
        config = tiny(batch_size=8, model_options={}, epochs=3, **options)
        run = Run.create(
            tmp_path / "work" / "a-0", config, load_dataset("streets", streets).label_map
        )
        run.write_metrics([{"epoch": i, "val_miou": miou} for i, miou in enumerate(mious, 1)])
        return run

    return make


def test_a_run_of_the_plan_is_in_the_table(compare, finished):
    finished([0.1, 0.2, 0.25], precision="float32")
    result = compare(precision="auto")
    assert "| a | 25.00 | 25.00 |  |" in result.output, result.output


def test_a_run_of_another_plan_is_refused(compare, finished):
    run = finished([0.1, 0.2, 0.25], precision="float32", learning_rate=0.01)
    result = compare(precision="float32")
    assert (
        result.exit_code == 2
        and (f"{run.path}: a run with other options than the plan's (learning_rate): remove it")
        in result.output
    ), result.output


def test_a_run_that_stopped_early_is_finished(compare, finished):
    finished([0.2, 0.1], early_stop=1)
    result = compare(early_stop=1)
    assert "| a | 10.00 | 10.00 |  |" in result.output, result.output
