"""Several processes that train together: they compute what one does, and end together.

The processes start at once and early, since most of their seconds are imports and compilation.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import keras_bisenet
from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.training.config import write_config
from keras_bisenet.training.run import Run

ROOT = Path(keras_bisenet.__file__).parents[1]

SMALL = '''
"""Trains a network of two layers and a batch norm, alone or as one of several processes."""
import sys

from keras_bisenet.errors import UserError
from keras_bisenet.training.config import TrainingConfig, make_config, read_config
from keras_bisenet.training.distributed import Cluster, run_in_worker
from keras_bisenet.training.run import Run


def small_network(name, num_classes, **options):
    import keras
    from keras import layers

    image = keras.Input((64, 96, 3))
    x = layers.Conv2D(8, 3, 8, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(num_classes, 1)(x)
    return keras.Model(image, layers.UpSampling2D(8, interpolation="bilinear")(x))


def train(config, run):
    from keras_bisenet.training import trainer

    trainer.build_model = small_network
    return trainer.train(config, run)


if __name__ == "__main__":
    config_file, path, *cluster = sys.argv[1:]
    work = make_config(TrainingConfig, read_config(config_file)), Run(path)
    try:
        if cluster:
            address, count, number = cluster
            run_in_worker(train, work, Cluster(address, int(count), int(number)))
        else:
            train(*work)
    except UserError as error:
        sys.exit(f"Error: {error}")
'''


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function that starts some processes, of the small network or of the command.

    `{}` in the name of the configuration stands for the number of the process.
    """
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: pip install '.[test]'")
    small = tmp_path_factory.mktemp("program") / "small.py"
    small.write_text(SMALL)
    started = []

    def start_processes(config_file, run, count=1, devices=1, command=False):
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = {
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # XLA compiles in a fraction of the time.
            "XLA_FLAGS": flags + " --xla_backend_optimization_level=0",
            "PYTHONPATH": str(ROOT),
        }
        address = f"127.0.0.1:{free_port()}"
        processes = []
        for number in range(count):
            if command:
                program = ["-c", "from keras_bisenet.cli import main; main()", "train"]
                program += ["--run", run, "--config", config_file]
                if count > 1:
                    program += ["--coordinator", address, "--num-processes", count]
                    program += ["--process-id", number]
            else:
                program = [small, str(config_file).format(number), run]
                program += [address, count, number] if count > 1 else []
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-u", *map(str, program)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=environment,
                    cwd=ROOT,
                )
            )
        started.extend(processes)
        return processes

    yield start_processes
    for process in started:
        with process:
            process.kill()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ends_of(processes) -> list[tuple[int, list[str]]]:
    """Exit codes, and the lines that were printed."""
    outputs = [process.communicate()[0].splitlines() for process in processes]
    return [(process.returncode, lines) for process, lines in zip(processes, outputs)]


def assert_same_run(path, other, tolerance=1e-5):
    """Equal to what 32 bits hold: sums over a batch are made in another order."""
    rows, others = Run(path).read_metrics(), Run(other).read_metrics()
    assert len(rows) == len(others) > 0
    for ours, theirs in zip(rows, others):
        assert ours["epoch"] == theirs["epoch"]
        assert ours["learning_rate"] == theirs["learning_rate"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=tolerance)
        # A pixel may be undecided between two classes.
        assert ours["val_miou"] == pytest.approx(theirs["val_miou"], abs=1e-3)
        assert ours["val_pixel_accuracy"] == pytest.approx(theirs["val_pixel_accuracy"], abs=1e-3)
    name = f"epoch-{rows[-1]['epoch']:04.0f}.npz"
    assert [file.name for file in (Path(path) / "checkpoints").iterdir()] == [name]
    with np.load(Path(path) / "checkpoints" / name) as state:
        with np.load(Path(other) / "checkpoints" / name) as expected:
            assert state.files == expected.files
            for key in state.files:
                np.testing.assert_allclose(state[key], expected[key], rtol=1e-3, atol=tolerance)


@pytest.fixture(scope="module", autouse=True)
def small_runs(tmp_path_factory, tiny, start):
    """One run in one process, and one in two; what the two printed."""
    folder = tmp_path_factory.mktemp("small")
    config_file = folder / "config.yaml"
    write_config(config_file, tiny(epochs=3, learning_rate=0.05, ema=0.9))
    alone = start(config_file, folder / "alone")
    together = start(config_file, folder / "together", 2)
    return lambda: (folder, ends_of(alone), ends_of(together))


# === The same run ===


def test_processes_read_the_rows_of_the_batch_that_one_reads(streets):
    dataset = load_dataset("streets", streets)
    whole, *parts = (
        iter(TrainingPipeline(dataset, dataset.split("train"), (32, 32), 4, share=share).batches(7))
        for share in [(0, 1), (0, 2), (1, 2)]
    )
    for _ in range(3):
        expected = next(whole)
        for i, got in enumerate(zip(*(next(part) for part in parts))):
            np.testing.assert_array_equal(np.concatenate(got), expected[i])


def test_two_processes_train_as_one_does(small_runs):
    folder, alone, together = small_runs()
    assert [code for code, _ in alone + together] == [0, 0, 0], (alone, together)
    assert_same_run(folder / "together", folder / "alone")
    first, second = (lines for _, lines in together)
    assert first[:2] == [
        "computing in float32: on jax, bfloat16 is left to --precision",
        "training on 2 devices of 2 processes",
    ]
    pattern = r"epoch \d/3  loss \d\.\d{4}  val mIoU 0\.\d{4}( \(best\))?  \d+\.\d\d images/s"
    assert len(first) == 5 and all(re.fullmatch(pattern, line) for line in first[2:])
    assert second == []
    assert sorted(path.name for path in (folder / "together").iterdir()) == [
        "checkpoints",
        "logs",
        "metrics.csv",
        "model.keras",
        "samples",
    ]
    assert len(list((folder / "together" / "logs").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("count, devices", [(2, 1), (2, 2), (4, 1)])
def test_the_command_trains_as_one_process_does(tmp_path, tiny, start, count, devices):
    config_file = tmp_path / "config.yaml"
    # Small steps: large ones make of a rounding another network in four of them.
    write_config(config_file, tiny(learning_rate=0.005))
    ends = ends_of(start(config_file, tmp_path / "alone", command=True))
    ends += ends_of(start(config_file, tmp_path / "together", count, devices, command=True))
    assert [code for code, _ in ends] == [0] * (1 + count), ends
    # Of its many layers each adds its own rounding.
    assert_same_run(tmp_path / "together", tmp_path / "alone", tolerance=1e-3)


# === What goes wrong ===


def wait_for_epoch(process, number):
    for line in process.stdout:
        if line.startswith(f"epoch {number}/"):
            return
    raise AssertionError("it has ended")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_the_others_end_when_a_process_is_lost_and_go_on_when_resumed(tmp_path, tiny, start, lost):
    config_file = tmp_path / "config.yaml"
    write_config(config_file, tiny(epochs=40, learning_rate=0.05, ema=0.9))
    whole = start(config_file, tmp_path / "whole", 2)
    assert [code for code, _ in ends_of(whole)] == [0, 0]

    processes = start(config_file, tmp_path / "run", 2)
    wait_for_epoch(processes[0], 3)
    processes[lost].kill()
    survivor = processes[1 - lost]
    output, _ = survivor.communicate(timeout=150)  # JAX' heartbeat has 100 seconds
    assert survivor.returncode == 1
    assert re.fullmatch(
        rf"Error: process {1 - lost} of 2 lost another process, or the connection to it: see \S+; "
        "start all processes again with --resume",
        output.splitlines()[-1],
    )
    processes[lost].communicate()
    assert 3 <= len(Run(tmp_path / "run").read_metrics()) < 40

    resumed = start(config_file, tmp_path / "run", 2)
    assert [code for code, _ in ends_of(resumed)] == [0, 0]
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_missed(tmp_path, tiny, start):
    config_file = tmp_path / "config.yaml"
    write_config(config_file, tiny(epochs=400))
    processes = start(config_file, tmp_path / "run", 2)
    wait_for_epoch(processes[0], 1)
    children = f"/proc/{processes[1].pid}/task/{processes[1].pid}/children"
    if not os.path.exists(children):
        pytest.skip("this system does not list children")
    for child in map(int, Path(children).read_text().split()):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
    (code, lines), (other_code, other_lines) = ends_of(processes)
    assert (code, other_code) == (1, 1)
    assert " lost another process, " in lines[-1]
    assert "process 1 of 2 was killed, perhaps for want of memory: see " in other_lines[-1]


@pytest.mark.slow
def test_processes_that_differ_are_told_apart(tmp_path, tiny, start):
    for number, rate in enumerate((0.05, 0.01)):
        write_config(tmp_path / f"config-{number}.yaml", tiny(learning_rate=rate))
    processes = start(tmp_path / "config-{}.yaml", tmp_path / "run", 2)
    for code, lines in ends_of(processes):
        assert code == 1, lines
        assert lines[-1] == (
            "Error: the processes do not agree about the configuration: start all of them with "
            "the same options, data and run directory"
        )


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ("--process-id", "0"),
            "several processes need --coordinator and --num-processes too",
        ),
        (
            ("--coordinator", "host", "--num-processes", "2", "--process-id", "0"),
            "--coordinator 'host' is not HOST:PORT",
        ),
        (
            ("--coordinator", "host:1234", "--num-processes", "2", "--process-id", "2"),
            "--process-id 2: 2 processes have the ids 0 to 1",
        ),
    ],
)
def test_options_that_make_no_cluster(tmp_path, options, message):
    result = CliRunner().invoke(main, ["train", "--run", str(tmp_path / "run"), *options])
    assert (result.exit_code, result.output) == (2, f"Error: {message}\n")
    assert not (tmp_path / "run").exists()


def test_another_backend_is_refused(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "host:1234,other:1234")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    write_config(tmp_path / "config.yaml", tiny())
    options = ["--config", str(tmp_path / "config.yaml"), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["train", *options])
    assert (result.exit_code, result.output) == (
        2,
        "Error: several processes train on JAX alone: set KERAS_BACKEND=jax\n",
    )
    assert not (tmp_path / "run").exists()
