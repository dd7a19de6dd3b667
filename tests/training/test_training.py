"""Training runs: what they leave, that they repeat, and what interrupts them without loss.

Most of a run's seconds go by before its first step, so the tests share runs.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tensorflow.python.summary.summary_iterator import summary_iterator

import keras_bisenet
from keras_bisenet import files
from keras_bisenet.cli import main
from keras_bisenet.console import log_on_terminal
from keras_bisenet.data import load_dataset
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.data.streets import generate_streets
from keras_bisenet.errors import UserError
from keras_bisenet.models import build_model
from keras_bisenet.training.checkpoint import load_state, save_state
from keras_bisenet.training.config import write_config
from keras_bisenet.training.ema import averaged_weights
from keras_bisenet.training.evaluation import KerasSegmenter, score
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.losses import cross_entropy
from keras_bisenet.training.optimizers import WarmupPolynomialDecay
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model, save_model
from keras_bisenet.training.step import training_model
from keras_bisenet.training.trainer import compile_model

ROOT = Path(keras_bisenet.__file__).parents[1]
EPOCHS = 14
EPOCH_LINE = re.compile(r"epoch (\d+)/\d+  loss")


# === A run ===


@pytest.fixture(scope="module")
def config(tiny, streets, tmp_path_factory):
    """All the state that a run can have: momentum, averaged weights, a teacher, and extra images
    in the first half of its epochs."""
    folder = tmp_path_factory.mktemp("sources")
    keras.utils.set_random_seed(1)
    save_model(build_model("bisenetv2", 11, **tiny().model_options), folder / "teacher.keras")
    shutil.copytree(streets / "test", folder / "extra")
    return tiny(
        epochs=EPOCHS,
        learning_rate=0.05,
        ema=0.9,
        boosters=False,
        teacher=str(folder / "teacher.keras"),
        soft_weight=0.2,
        extra=str(folder / "extra"),
        extra_share=0.25,
        extra_until=0.5,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, config, trained):
    """A run from its beginning to its end."""
    return trained(tmp_path_factory.mktemp("training") / "run", config)


def weights_of(run):
    return load_model(run.model_file).get_weights()


def assert_same_arrays(arrays, others):
    assert len(arrays) == len(others) > 0
    for array, other in zip(arrays, others):
        np.testing.assert_array_equal(array, other)


def assert_nothing_half_written(folder):
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def reproducible(rows):
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def test_a_run_directory_holds_what_its_result_came_from(run, config):
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "extra-soft",
        "label_map.json",
        "logs",
        "metrics.csv",
        "model.keras",
        "samples",
        "soft",
    ]
    assert len(list((run.path / "soft").iterdir())) == 8
    assert len(list((run.path / "extra-soft").iterdir())) == 3
    assert run.config.precision in ("float32", "mixed_bfloat16")  # what `auto` meant here
    assert run.config == dataclasses.replace(config, precision=run.config.precision)
    assert run.label_map == load_dataset(config.dataset, config.data_dir).label_map
    assert run.quantization is None
    assert [path.name for path in run.checkpoints.iterdir()] == [f"epoch-{EPOCHS:04d}.npz"]
    with Image.open(run.samples / "best.png") as sheet:
        assert sheet.mode == "RGB" and sheet.width > 3 * 96 and sheet.height > 3 * 64
    assert_nothing_half_written(run.path)


def test_metrics_has_a_row_for_each_epoch(run, config):
    rows = run.read_metrics()
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    assert list(rows[0]) == [
        "epoch",
        "loss",
        "val_miou",
        "val_pixel_accuracy",
        "learning_rate",
        "images_per_second",
    ]
    assert 1 < rows[-1]["loss"] < rows[0]["loss"] < 4  # it starts near log(11)
    assert all(0 <= row["val_miou"] <= 1 for row in rows)
    schedule = WarmupPolynomialDecay(0.05, 2 * EPOCHS, 2)
    for row in rows:
        step = 2 * row["epoch"] - 1
        assert row["learning_rate"] == pytest.approx(float(schedule(step)))
    with run.metrics_file.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == EPOCHS


def test_tensorboard_has_the_curves_and_the_pictures(run):
    (log,) = run.logs.iterdir()
    steps = {}
    for event in summary_iterator(str(log)):
        for value in event.summary.value:
            steps.setdefault(value.tag, []).append(event.step)
    for tag in ("loss", "val_miou", "learning_rate", "iou/Road", "samples"):
        assert steps[tag] == list(range(1, EPOCHS + 1))


def test_the_model_is_the_best_one(run, config):
    dataset = load_dataset(config.dataset, config.data_dir)
    segment = KerasSegmenter(load_model(run.model_file), config.size).segment
    assert score(segment, dataset, dataset.split("val")).miou == run.best_miou()


def test_the_model_takes_a_tensor_and_no_list_of_one(run):
    """Some Keras versions warn of a tensor that is given to a model that was made from a list."""
    model = load_model(run.model_file)
    assert model.input is model.inputs[0]


def test_averaged_weights_are_in_the_model_while_it_is_evaluated(config):
    model = training_model(build_model(config.model, 11, **config.model_options))
    compile_model(model, config, WarmupPolynomialDecay(1.0, 10), cross_entropy)
    weight = model.trainable_variables[0]
    values = []
    for _ in range(3):
        model.optimizer.apply([keras.ops.ones_like(v) for v in model.trainable_variables])
        values.append(keras.ops.convert_to_numpy(weight))
    average = 0.9 * (0.9 * values[0] + 0.1 * values[1]) + 0.1 * values[2]
    before = model.get_weights()
    with averaged_weights(model)():
        np.testing.assert_allclose(weight, average, rtol=0, atol=1e-5)
    assert_same_arrays(model.get_weights(), before)


# === Interruptions ===


def start(*options, patch="") -> subprocess.Popen:
    """`keras-bisenet train` in a process of its own."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{patch}\nfrom keras_bisenet.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, "train", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def wait_for_epoch(process, beyond=0) -> int:
    """Reads the process' output up to the line of an epoch after `beyond`."""
    for line in process.stdout:
        found = EPOCH_LINE.match(line)
        if found and int(found[1]) > beyond:
            return int(found[1])
    raise AssertionError("it has ended")


DIES_BEFORE_ROW_2 = """
import os, signal
from keras_bisenet.training.run import Run
write_metrics = Run.write_metrics
def die_or_write(run, rows):
    if len(rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write_metrics(run, rows)
Run.write_metrics = die_or_write
"""


IS_INTERRUPTED_AFTER_A_ROW = """
import os, signal
from keras_bisenet.training.run import Run
write_metrics = Run.write_metrics
def write_and_interrupt(run, rows):
    write_metrics(run, rows)
    os.kill(os.getpid(), signal.SIGINT)
Run.write_metrics = write_and_interrupt
"""


@pytest.fixture(scope="module", autouse=True)
def dying(tmp_path_factory, config):
    """The same run in a process that is going to die, while the other one trains."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_config(folder / "config.yaml", config)
    run = Run(folder / "run")
    options = ("--run", run.path, "--config", folder / "config.yaml")
    process = start(*options, patch=DIES_BEFORE_ROW_2)
    with process:
        yield run, process
        process.kill()


@pytest.fixture(scope="module")
def interrupted(run, dying):
    """A run of the same configuration that ends after three deaths; what was seen at each."""
    resumed, process = dying
    resume = ("--run", resumed.path, "--resume")
    seen = {}

    process.communicate()
    seen["between checkpoint and row"] = (
        process.returncode,
        sorted(path.name for path in resumed.checkpoints.iterdir()),
        len(resumed.read_metrics()),
    )

    process = start(*resume)
    wait_for_epoch(process)
    process.kill()
    process.communicate()
    seen["anywhere"] = process.returncode, len(resumed.read_metrics())

    process = start(*resume, patch=IS_INTERRUPTED_AFTER_A_ROW)
    output, _ = process.communicate()
    seen["Ctrl-C"] = process.returncode, output.splitlines()[-1], len(resumed.read_metrics())

    keras.utils.clear_session()
    result = CliRunner().invoke(main, ["train", *map(str, resume)])
    seen["end"] = result.exit_code, result.output.splitlines()[-1]
    return resumed, seen


def test_a_death_leaves_the_newest_row_with_its_checkpoint(interrupted):
    _, seen = interrupted
    checkpoints = ["epoch-0001.npz", "epoch-0002.npz"]
    assert seen["between checkpoint and row"] == (-signal.SIGKILL, checkpoints, 1)
    code, rows = seen["anywhere"]
    assert code == -signal.SIGKILL and 2 <= rows < EPOCHS


def test_ctrl_c_says_how_to_go_on(interrupted):
    run, seen = interrupted
    code, line, rows = seen["Ctrl-C"]
    assert (code, line) == (
        1,
        "Error: interrupted: what is finished is kept; "
        f"keras-bisenet train --run {run.path} --resume goes on",
    )
    assert seen["anywhere"][1] <= rows < EPOCHS


def test_a_resumed_run_ends_like_an_uninterrupted_one(interrupted, run):
    resumed, seen = interrupted
    code, line = seen["end"]
    assert (
        code == 0 and line.startswith("best val mIoU ") and line.endswith(str(resumed.model_file))
    )
    assert reproducible(resumed.read_metrics()) == reproducible(run.read_metrics())
    assert_same_arrays(weights_of(resumed), weights_of(run))
    name = f"epoch-{EPOCHS:04d}.npz"
    with np.load(resumed.checkpoints / name) as ours, np.load(run.checkpoints / name) as theirs:
        assert_same_arrays(list(ours.values()), list(theirs.values()))
    assert [path.name for path in resumed.checkpoints.glob("[!.]*")] == [name]


def test_a_run_that_has_its_teachers_answers_starts_from_the_same_weights(tmp_path, config, run):
    """As after a death between the teacher's last answer and the first epoch's end. To open a
    teacher draws random numbers, which went missing from the network's initial weights."""
    resumed = Run(tmp_path / "run")
    resumed.path.mkdir()
    for name in ("config.yaml", "label_map.json"):
        shutil.copy(run.path / name, resumed.path)
    for name in ("soft", "extra-soft"):
        shutil.copytree(run.path / name, resumed.path / name)
    keras.utils.clear_session()
    result = CliRunner().invoke(main, ["train", "--run", str(resumed.path), "--resume"])
    assert result.exit_code == 0, result.output
    assert reproducible(resumed.read_metrics()) == reproducible(run.read_metrics())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_any_moment_goes_on(tmp_path, config, run, seed):
    write_config(tmp_path / "config.yaml", config)
    path = tmp_path / "run"
    dice = random.Random(seed)
    options = ["--run", path, "--config", tmp_path / "config.yaml"]
    for _ in range(2):
        process = start(*options)
        if (path / "metrics.csv").exists() or dice.random() < 0.7:
            wait_for_epoch(process)
            time.sleep(dice.uniform(0, 1.5))
        else:
            time.sleep(dice.uniform(2, 8))
        process.kill()
        process.communicate()
        if (path / "config.yaml").exists():
            options = ["--run", path, "--resume"]
    keras.utils.clear_session()
    result = CliRunner().invoke(main, ["train", *map(str, options)])
    assert result.exit_code == 0, result.output
    assert reproducible(Run(path).read_metrics()) == reproducible(run.read_metrics())
    assert_same_arrays(weights_of(Run(path)), weights_of(run))


# === The other choices ===


def test_other_choices_in_one_run(tmp_path, tiny, trained):
    config = tiny(
        precision="mixed_bfloat16",
        boosters=False,
        optimizer="adamw",
        learning_rate=0.01,
        loss="ohem",
        accumulate=2,
        epochs=3,
        flip=False,
        model="bisenetv2-small",
    )
    run = trained(tmp_path / "run", config)
    rows = run.read_metrics()
    assert len(rows) == 3
    assert all(0 < row["loss"] < 4 for row in rows)
    # The learning rate goes by batches, however many of them make an update.
    expected = WarmupPolynomialDecay(0.01, 6, 2)(5)
    assert rows[-1]["learning_rate"] == pytest.approx(float(expected))
    model = load_model(run.model_file)
    # It learnt in bfloat16, and is a plain float32 graph.
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_accumulating_follows_the_schedule_to_its_end(tiny):
    """Two batches to an update: the optimizer's own learning rate, not the log's."""
    config = tiny(accumulate=2, boosters=False)
    model = training_model(build_model(config.model, 11, (64, 96, 3), **config.model_options))
    schedule = WarmupPolynomialDecay(0.1, total_steps=8, power=1.0)
    compile_model(model, config, schedule, cross_entropy)
    rates = []
    for _ in range(8):
        rates.append(float(model.optimizer.learning_rate))
        model.optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables])
    assert rates == pytest.approx([0.1 * (1 - step / 8) for step in range(8)])


@pytest.fixture(scope="module", autouse=True)
def run_on_jax(tmp_path_factory, tiny, start_on_jax):
    """A function that waits for a run of an epoch on JAX; the run, and what was printed."""
    folder = tmp_path_factory.mktemp("jax")
    write_config(folder / "config.yaml", tiny(epochs=1, boosters=False))
    program = "from keras_bisenet.cli import main; main()"
    options = ("--config", folder / "config.yaml", "--run", folder / "run")
    wait = start_on_jax(program, "train", *options)
    return lambda: (wait(), Run(folder / "run"))


def test_the_jax_backend_trains_on_several_devices(run_on_jax):
    output, run = run_on_jax()
    assert "training on 2 devices" in output
    (row,) = run.read_metrics()
    assert 2 < row["loss"] < 4
    # The same model on the other backend has the same score.
    dataset = load_dataset("streets", run.config.data_dir)
    segment = KerasSegmenter(load_model(run.model_file), run.config.size).segment
    found = score(segment, dataset, dataset.split("val"))
    assert found.miou == pytest.approx(row["val_miou"], abs=0.01)


# === The loop, on a network of one layer ===


def one_layer_loop(path, config, *, learning_rate=0.1, **options):
    dataset = load_dataset(config.dataset, config.data_dir)
    model = keras.Sequential([keras.Input((*config.size, 3)), keras.layers.Conv2D(11, 1)])
    model.compile(keras.optimizers.SGD(learning_rate), loss=[cross_entropy])
    model.optimizer.build(model.trainable_variables)
    return TrainingLoop(
        Run.create(path, config, dataset.label_map),
        model,
        TrainingPipeline(dataset, dataset.split("train"), config.size, config.batch_size),
        dataset,
        **{
            "segment": KerasSegmenter(model, config.size).segment,
            "save_best": lambda: None,
            "learning_rate": lambda step: learning_rate,
            "epochs": config.epochs,
            **options,
        },
    )


def test_the_best_model_is_kept_and_no_better_one_stops_early(tmp_path, tiny):
    """The answers are right in epochs 2 and 3, the first of which is the best."""
    config = tiny(epochs=9)
    dataset = load_dataset(config.dataset, config.data_dir)
    truth = {i.tobytes(): m for i, m in map(dataset.read, dataset.split("val"))}
    run, kept = Run(tmp_path / "run"), []

    def segment(image):
        right = len(run.read_metrics()) + 1 in (2, 3)
        return np.where(truth[image.tobytes()] == 255, 0, truth[image.tobytes()]) * right

    loop = one_layer_loop(
        run.path,
        config,
        segment=segment,
        save_best=lambda: kept.append(len(run.read_metrics()) + 1),
        early_stop=3,
    )
    rows = loop()
    assert [row["val_miou"] == 1 for row in rows] == [False, True, True, False, False]
    assert kept == [1, 2]
    assert run.best_miou() == 1.0
    assert len(loop()) == 5  # and again, where it is resumed


def test_validation_every_few_epochs_and_after_the_last(tmp_path, tiny, capsys):
    with log_on_terminal():
        rows = one_layer_loop(tmp_path / "run", tiny(epochs=5), validate_every=2)()
    assert [row["epoch"] for row in rows] == [2, 4, 5]
    lines = capsys.readouterr().out.splitlines()
    assert [" mIoU " in line for line in lines] == [False, True, False, True, True]


def test_an_epoch_that_is_not_validated_is_kept_too(tmp_path, tiny):
    def loop_of(name):
        keras.utils.set_random_seed(2)
        loop = one_layer_loop(tmp_path / name, tiny(epochs=5), validate_every=3)
        train_epoch, validate = loop._train_epoch, loop._validate
        loop._train_epoch = lambda epoch, *args: at("training", epoch) or train_epoch(epoch, *args)
        loop._validate = lambda epoch: at("validating", epoch) or validate(epoch)
        return loop

    def at(*moment):
        seen.append(moment)
        if moment in deaths:
            deaths.remove(moment)
            raise KeyboardInterrupt

    seen, deaths = [], []
    whole = loop_of("whole")
    rows = whole()

    died = loop_of("run")
    for what, epoch, kept in ("training", 2, 1), ("validating", 3, 2), ("training", 5, 4):
        seen, deaths = [], [(what, epoch)]
        with pytest.raises(KeyboardInterrupt):
            died()
        died = loop_of(f"after-{what}-{epoch}")
        died.run = Run(tmp_path / "run")
        assert died._newest_state(died.run.read_metrics()) == kept
    assert reproducible(died()) == reproducible(rows)
    assert seen[-2:] == [("training", 5), ("validating", 5)]
    assert_same_arrays(died.model.get_weights(), whole.model.get_weights())
    assert [path.name for path in died.run.checkpoints.iterdir()] == ["epoch-0005.npz"]


# === What a batch's loss is, on every Keras ===


def test_the_loss_of_an_epoch_is_the_mean_of_its_batches(tmp_path, tiny):
    """Before Keras 3.15 `train_on_batch` returned the average of all batches since compiling: 1,
    2.5 and 4.67 for batches of 1, 4 and 9."""
    config = tiny(epochs=2)
    loop = one_layer_loop(tmp_path / "run", config)
    batches = []

    def squares(class_ids, logits):
        """1 in the first batch, then 4, 9, 16."""
        steps = keras.ops.cast(loop.model.optimizer.iterations + 1, "float32")
        return steps**2 + 0 * keras.ops.sum(logits)

    loop.model.compile(keras.optimizers.SGD(0.1), loss=[squares])
    loop.model.optimizer.build(loop.model.trainable_variables)
    train_on_batch = loop.model.train_on_batch

    def seen(*arguments, **options):
        logs = train_on_batch(*arguments, **options)
        batches.append(float(logs["loss"]))
        return logs

    loop.model.train_on_batch = seen
    rows = loop()
    assert batches == [1, 4, 9, 16]
    assert [row["loss"] for row in rows] == [2.5, 12.5]


# === What goes wrong ===


def test_a_loss_that_is_no_number_any_more(tmp_path, tiny):
    loop = one_layer_loop(tmp_path / "run", tiny(epochs=3), learning_rate=1e38)
    with pytest.raises(UserError) as caught:
        loop()
    assert re.fullmatch(
        rf"{tmp_path / 'run'}: the loss became (nan|inf) in epoch \d: "
        "train again with a smaller --learning-rate",
        str(caught.value),
    )


def test_a_bad_file_that_is_met_in_training_is_named(tmp_path, tiny):
    data = tmp_path / "data"
    generate_streets(data, counts={"train": 4, "val": 1, "test": 1}, size=(64, 96))
    path = data / "train" / "street_00002.png"
    path.write_bytes(path.read_bytes()[:1000])
    loop = one_layer_loop(tmp_path / "run", tiny(data_dir=str(data)))  # reads nothing ahead
    with pytest.raises(UserError, match=f"^{path}: a damaged image \\(.*: copy it again$"):
        loop()


def test_a_run_is_never_overwritten(run):
    options = ["--dataset", "streets", "--data-dir", run.config.data_dir, "--run", run.path]
    result = CliRunner().invoke(main, ["train", *map(str, options)])
    assert (result.exit_code, result.output) == (
        2,
        f"Error: {run.path}: something is here already: choose another --run, or --resume it\n",
    )


def test_resume_refuses_other_options_and_no_run(tmp_path, run):
    result = CliRunner().invoke(
        main, ["train", "--run", str(run.path), "--resume", "--epochs", "99", "--seed", "0"]
    )
    assert (result.exit_code, result.output) == (
        2,
        f"Error: {run.path}: --resume goes on with the run's own epochs: "
        "leave the option out, or start a new run\n",
    )
    result = CliRunner().invoke(main, ["train", "--run", str(tmp_path), "--resume"])
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {tmp_path}: no run directory (it has no config.yaml): train one first\n",
    )


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path, tiny):
    config = tiny(boosters=False)
    model = training_model(build_model(config.model, 11, **config.model_options))
    compile_model(model, config, WarmupPolynomialDecay(0.1, 10), cross_entropy)
    path = tmp_path / "epoch-0001.npz"
    save_state(path, model)
    load_state(path, model)

    options = {**config.model_options, "head_width": 16}
    other = training_model(build_model(config.model, 11, **options))
    compile_model(other, config, WarmupPolynomialDecay(0.1, 10), cross_entropy)
    with pytest.raises(UserError, match=f"^{path}: the checkpoint of another model: start a new"):
        load_state(path, other)
    for content in (path.read_bytes()[:5000], b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"^{path}: damaged checkpoint "):
            load_state(path, model)


def test_a_damaged_model_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match=f"^{path}: no readable .keras model "):
        load_model(path)


# === A full disk ===


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 300 kB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(mounted)]
    if os.name != "posix" or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting a small file system takes root")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


# Keras leaves its archive open, which on Python 3.10 cannot be closed without a word.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_leaves_the_file_before_as_it_was(small_disk, tiny):
    files.write_text(small_disk / "notes.txt", "first")
    with pytest.raises(OSError, match="No space left"):
        files.write_text(small_disk / "notes.txt", "second " * 50000)
    assert (small_disk / "notes.txt").read_text() == "first"

    config = tiny(boosters=False)
    model = training_model(build_model(config.model, 11, **config.model_options))
    compile_model(model, config, WarmupPolynomialDecay(0.1, 10), cross_entropy)
    for name in ("epoch-0001.npz", "model.keras"):
        (small_disk / name).write_bytes(b"the one before")
        with pytest.raises(OSError, match="No space left"):
            if name.endswith(".npz"):
                save_state(small_disk / name, model)
            else:
                save_model(model, small_disk / name)
        assert (small_disk / name).read_bytes() == b"the one before"
    assert_nothing_half_written(small_disk)


LIMITED = """
import resource, sys
from keras_bisenet import files
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    files.write_bytes(sys.argv[1], bytes(200_000))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for files")
def test_a_file_that_may_not_grow_leaves_the_one_before(tmp_path):
    path = tmp_path / "model.tflite"
    files.write_bytes(path, b"first")
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "OSError\n"
    assert path.read_bytes() == b"first"
    assert_nothing_half_written(tmp_path)


def test_damaged_files_of_a_run_are_named(tmp_path):
    run = Run(tmp_path)
    run.label_map_file.write_text('{"names": ["a"]')
    run.metrics_file.write_text("epoch,val_miou\n1,half\n")
    with pytest.raises(UserError, match=f"^{run.label_map_file}: no readable label map "):
        _ = run.label_map
    with pytest.raises(UserError, match=f"^{run.metrics_file}: no readable metrics "):
        run.read_metrics()
