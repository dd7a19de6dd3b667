"""Typed configurations: what is taken, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import re

import pytest
from click.testing import CliRunner

from keras_bisenet.cli import main
from keras_bisenet.errors import UsageError
from keras_bisenet.models import MODELS
from keras_bisenet.training.config import (
    QuantizationConfig,
    TrainingConfig,
    make_config,
    parse_size,
    read_config,
    write_config,
)
from keras_bisenet.training.run import Run, configured_dataset

NEEDED = {"dataset": "camvid", "data_dir": "data"}


def make(**values):
    return make_config(TrainingConfig, {**NEEDED, **values}, "c.yaml")


def refusal(function, *arguments, **values) -> str:
    with pytest.raises(UsageError) as caught:
        function(*arguments, **values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_are_the_papers():
    config = make()
    assert (config.model, config.optimizer, config.loss) == ("bisenetv2", "sgd", "cross_entropy")
    assert (config.momentum, config.weight_decay, config.power) == (0.9, 5e-4, 0.9)
    assert (config.scale, config.flip, config.boosters) == ((0.75, 2.0), True, True)
    assert (config.ohem_threshold, config.ohem_share) == (0.7, 1 / 16)
    assert (config.size, config.epochs, config.seed) == ((384, 480), 200, 0)


@pytest.mark.parametrize(
    ("values", "peak"),
    [
        ({"batch_size": 16}, 0.05),  # the paper
        ({"batch_size": 4}, 0.0125),
        ({"batch_size": 4, "accumulate": 4}, 0.05),
        ({"optimizer": "adamw"}, 0.002),
        ({"learning_rate": 0.3}, 0.3),
    ],
)
def test_peak_learning_rate(values, peak):
    assert make(**values).peak_learning_rate == pytest.approx(peak)


def test_values_are_given_their_types():
    config = make(
        size="96x128", scale=[1, 2], learning_rate="1e-3", weight_decay=0, epochs=3, ema=None
    )
    assert config.size == (96, 128)
    assert config.scale == (1.0, 2.0) and isinstance(config.scale[0], float)
    assert config.learning_rate == 0.001
    assert isinstance(config.weight_decay, float)
    assert make(model_options={"alpha": "1e-1"}).model_options == {"alpha": 0.1}
    assert make(size=(96, 128)) == make(size=[96, 128]) == make(size="96X128")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 0.1}, "unknown option 'learning_rat': did you mean 'learning_rate'?"),
        ({"Batch_size": 4}, "unknown option 'Batch_size': did you mean 'batch_size'?"),
        ({"epochs": "many"}, "epochs: 'many' is not int"),
        ({"epochs": 2.5}, "epochs: 2.5 is not int"),
        ({"epochs": True}, "epochs: True is not int"),
        ({"flip": 1}, "flip: 1 is not bool"),
        ({"flip": "no"}, "flip: 'no' is not bool"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' is not float"),
        ({"learning_rate": [1]}, "learning_rate: [1] is not float"),
        ({"dataset": 5}, "dataset: 5 is not str"),
        ({"model_options": 5}, "model_options: 5 is not dict"),
        ({"size": "big"}, "size: 'big' is not HxW, such as 384x480"),
        ({"size": 384}, "size: 384 is not HxW, such as 384x480"),
        ({"size": "384x480x3"}, "size: '384x480x3' is not HxW, such as 384x480"),
        ({"size": "100x100"}, "size: height 100 is not a multiple of 32: use 96 or 128"),
        ({"size": "96x100"}, "size: width 100 is not a multiple of 32: use 96 or 128"),
        ({"size": "16x96"}, "size: height 16 is not a multiple of 32: use 32 or 64"),
        ({"size": "-32x96"}, "size: height -32 is not a multiple of 32: use 32 or 64"),
        ({"scale": [2, 1]}, "scale: (2.0, 1.0) is no range of magnifications"),
        ({"scale": [0, 1]}, "scale: (0.0, 1.0) is no range of magnifications"),
        ({"epochs": 0}, "epochs: 0 is not positive"),
        ({"batch_size": -1}, "batch_size: -1 is not positive"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0 is not positive"),
        ({"jitter": 1.5}, "jitter: 1.5 does not lie between 0 and 1"),
        ({"cutmix": 2}, "cutmix: 2.0 does not lie between 0 and 1"),
        ({"ema": -0.1}, "ema: -0.1 does not lie between 0 and 1"),
        ({"optimizer": "adam"}, "optimizer: 'adam' is none of sgd, adamw"),
        ({"loss": "dice"}, "loss: 'dice' is none of cross_entropy, ohem"),
        (
            {"precision": "int8"},
            "precision: 'int8' is none of auto, float32, mixed_bfloat16",
        ),
        ({"warmup_epochs": "inf"}, "warmup_epochs: inf is no finite number"),
        ({"dice": "nan"}, "dice: nan is no finite number"),
        ({"scale": [1, float("inf")]}, "scale: (1.0, inf) is no range of magnifications"),
        ({"ohem_threshold": 0}, "ohem_threshold: 0.0 is no probability above 0, up to 1"),
        (
            {"class_weights": "0,0,0"},
            "class_weights: '0,0,0': no pixel would count: give one above 0",
        ),
        ({"early_stop": 0}, "early_stop: 0 is not positive"),
        ({"loss_stride": 3}, "loss_stride: 3 is none of 1, 2, 4, 8"),
        ({"weight_decay": -1}, "weight_decay: -1.0 is negative"),
        ({"seed": -1}, "seed: -1 does not lie between 0 and 2147483647"),
        (
            {"model_options": {"alfa": 1}},
            "model_options: unknown option 'alfa': did you mean 'alpha'?",
        ),
        ({"model_options": {"alpha": "wide"}}, "model_options: alpha: 'wide' is not float"),
        ({"model_options": {"depth": 1.5}}, "model_options: depth: 1.5 is not int"),
        ({"dataset": None}, "'dataset' is missing: give --dataset"),
        ({"data_dir": None}, "'data_dir' is missing: give --data-dir"),
    ],
)
def test_mistakes_are_refused_with_their_place(values, message):
    assert refusal(make, **values) == f"c.yaml: {message}"


def test_an_unknown_option_unlike_any_other_gets_the_list():
    message = refusal(make_config, QuantizationConfig, {"zzz": 1}, "quantize")
    assert message.startswith("quantize: unknown option 'zzz': it has mode, target, epochs,")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "dynamic"}, "mode: 'dynamic' is none of qat, ptq"),
        ({"calibration_images": 0}, "calibration_images: 0 is not positive"),
        ({"learning_rate": 0}, "learning_rate: 0.0 is not positive"),
        ({"seed": 2**31}, "seed: 2147483648 does not lie between 0 and 2147483647"),
    ],
)
def test_mistakes_in_a_quantization(values, message):
    assert refusal(make_config, QuantizationConfig, values, "quantize") == f"quantize: {message}"


@pytest.mark.parametrize("text", ["384x480", "384X480", " 384x480 "])
def test_sizes_are_height_by_width(text):
    assert parse_size(text) == (384, 480)


# === Files ===


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "config.yaml"
    config = make(
        size="96x128",
        scale=[0.5, 1.5],
        ema=0.99,
        learning_rate=1e-5,
        model_options={"alpha": 0.5, "aggregation": "sum"},
    )
    write_config(path, config)
    assert make_config(TrainingConfig, read_config(path)) == config
    assert path.read_text().splitlines()[:3] == [
        "dataset: camvid",
        "data_dir: data",
        "size: 96x128",
    ]

    write_config(path, QuantizationConfig(mode="ptq"))
    assert make_config(QuantizationConfig, read_config(path)) == QuantizationConfig(mode="ptq")


def test_yaml_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("dataset: camvid\ndata_dir: data\nlearning_rate: 1e-3\n")
    assert make_config(TrainingConfig, read_config(path)).learning_rate == 0.001


def test_no_such_file(tmp_path):
    message = refusal(read_config, tmp_path / "c.yaml")
    assert message.startswith(f"{tmp_path / 'c.yaml'}: cannot read the configuration (")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: [1, 2", "no YAML: "),
        (b"a: b: c", "no YAML: "),
        (b"- epochs", "a configuration is a YAML mapping of options to values"),
        (b"", "a configuration is a YAML mapping of options to values"),
        (b"\xff\xfe\x00", "cannot read the configuration ("),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert refusal(read_config, path).startswith(f"{path}: {message}")


# === On the command line ===


def train(tmp_path, *options):
    arguments = ["train", "--run", tmp_path / "run", *options]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert not (tmp_path / "run").exists()  # checked before any work
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return result.exit_code, lines[-1] if lines else result.output


def test_a_bad_configuration_is_one_line_and_exit_code_2(tmp_path, streets):
    path = tmp_path / "c.yaml"
    path.write_text(f"dataset: streets\ndata_dir: {streets}\nepoch: 3\n")
    assert train(tmp_path, "--config", path) == (
        2,
        f"Error: {path}: unknown option 'epoch': did you mean 'epochs'?",
    )
    path.write_text("epochs: [1\n")
    code, line = train(tmp_path, "--config", path)
    assert code == 2 and re.match(rf"Error: {path}: no YAML: .*line \d", line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "100x96"], "size: height 100 is not a multiple of 32: use 96 or 128"),
        (["--epochs", "0"], "epochs: 0 is not positive"),
        (["--ema", "2"], "ema: 2.0 does not lie between 0 and 1"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(tmp_path, streets, options, message):
    where = ["--dataset", "streets", "--data-dir", streets]
    assert train(tmp_path, *where, *options) == (2, f"Error: train: {message}")


def test_an_unknown_model_and_missing_data(tmp_path, streets):
    where = ["--dataset", "streets", "--data-dir", streets]
    assert train(tmp_path, *where, "--model", "unet") == (
        2,
        f"Error: train: model: 'unet' is none of {', '.join(MODELS)}",
    )
    assert train(tmp_path, "--dataset", "streets") == (
        2,
        "Error: train: 'data_dir' is missing: give --data-dir",
    )
    code, line = train(tmp_path, "--dataset", "streets", "--data-dir", tmp_path)
    assert code == 1 and line.startswith(f"Error: {tmp_path}: no streets data here")


def test_options_win_over_the_file(tmp_path, streets):
    path = tmp_path / "c.yaml"
    path.write_text(f"dataset: streets\ndata_dir: {streets}\nsize: 100x96\nepochs: 0\n")
    code, line = train(tmp_path, "--config", path, "--size", "64x96")
    assert (code, line) == (2, f"Error: {path}: epochs: 0 is not positive")


# === One place for what is said about an option ===


def test_the_command_lines_options_are_the_fields():
    from keras_bisenet.cli.train import command

    options = {parameter.name: parameter for parameter in command.params}
    given = command.make_context("train", ["--run", "runs/a"]).params
    own = {"run_dir", "config_file", "resume", "coordinator", "num_processes", "process_id"}
    own |= {"any_classes", "suggested"}
    fields = {field.name: field for field in dataclasses.fields(TrainingConfig)}
    assert set(options) - own == {n for n, f in fields.items() if f.metadata["command_line"]}
    for name in set(options) - own:
        found, about = options[name], fields[name].metadata
        assert given[name] is None  # what is not given is no wish
        assert about["help"] in found.help and f"[{about['shown']}]" in found.help + "[]"
        if about["choices"] and isinstance(about["choices"][0], str):
            assert tuple(found.type.choices) == about["choices"]
    assert [options[n].type.name for n in ("size", "epochs", "ema", "data_dir", "model")] == [
        "HxW",
        "integer",
        "float",
        "path",
        "text",
    ]
    assert options["boosters"].secondary_opts == ["--no-boosters"]


@pytest.mark.parametrize("kind", [TrainingConfig, QuantizationConfig])
def test_every_field_keeps_its_own_limits(kind):
    """A default lies within them, and each says what else it takes."""
    for field in dataclasses.fields(kind):
        about = field.metadata
        assert (
            about["help"]
            or about["choices"]
            or field.name
            in (
                "warmup_epochs",
                "seed",
                "epochs",
                "batch_size",
                "calibration_images",
            )
        )
        if field.default in (dataclasses.MISSING, None):
            continue
        assert not about["choices"] or field.default in about["choices"]
        assert not about["within"] or about["within"].holds(field.default)


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_began(tmp_path):
    """The first wave's configurations say neither precision nor strides."""
    (tmp_path / "config.yaml").write_text("dataset: camvid\ndata_dir: data\nprecision: float32\n")
    config = Run.open(tmp_path).config
    assert (config.precision, config.loss_stride, config.full_boosters) == ("float32", 1, True)
    write_config(tmp_path / "config.yaml", make(loss_stride=2))
    config = Run.open(tmp_path).config
    assert (config.precision, config.loss_stride, config.full_boosters) == ("auto", 2, False)


def test_val_is_held_out_or_trained_on():
    with pytest.raises(UsageError, match="train_on_val and hold_out: give one of them"):
        make(train_on_val=True, hold_out="0006R0")


def test_training_on_val_adds_its_images(streets):
    dataset = configured_dataset(make(dataset="streets", data_dir=str(streets), train_on_val=True))
    names = [sample.image.name for sample in dataset.split("train")]
    assert len(names) == 8 + 3 and len(dataset.split("val")) == 3
    assert {sample.image.name for sample in dataset.split("val")} <= set(names)
