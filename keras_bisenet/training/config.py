"""Typed configurations: defaults here, overridden by a YAML file, overridden by options.

Everything is checked here, before any work begins.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_bisenet.class_weights import check_class_weighting
from keras_bisenet.errors import UsageError
from keras_bisenet.files import write_text
from keras_bisenet.models import MODELS
from keras_bisenet.models.family import check_size
from keras_bisenet.targets import DEFAULT_TARGET, TARGETS


@dataclasses.dataclass(frozen=True)
class Within:
    """Which numbers an option takes."""

    holds: Callable[[float], bool]
    otherwise: str


POSITIVE = Within(lambda value: value > 0, "is not positive")
NOT_NEGATIVE = Within(lambda value: value >= 0, "is negative")
SHARE = Within(lambda value: 0 <= value <= 1, "does not lie between 0 and 1")
PROBABILITY = Within(lambda value: 0 < value <= 1, "is no probability above 0, up to 1")
SEED = Within(lambda value: 0 <= value < 2**31, "does not lie between 0 and 2147483647")


def option(
    default=dataclasses.MISSING,
    help: str = "",
    *,
    shown: str | None = None,
    choices: Sequence | None = None,
    within: Within | None = None,
    command_line: bool = True,
    path: bool = False,
    **more,
):
    """A field of a configuration, with all that is said about it in one place.

    Args:
        default: Its default, if it has one.
        help: What it is, for `--help` and for who reads the configuration.
        shown: What `--help` calls the default; by default its value.
        choices: The values it takes.
        within: The numbers it takes.
        command_line: Whether `keras-bisenet train` has an option for it.
        path: Whether it is a file or a folder.
        **more: Other arguments of `dataclasses.field`.
    """
    if shown is None:
        shown = "" if default in (dataclasses.MISSING, None) else str(default)
    metadata = {
        "help": help,
        "shown": shown,
        "choices": choices,
        "within": within,
        "command_line": command_line,
        "path": path,
    }
    return dataclasses.field(default=default, metadata=metadata, **more)


def rest(default=dataclasses.MISSING, help: str = "", **more):
    """A field that has no option on the command line: it is for a file of `--config`."""
    return option(default, help, command_line=False, **more)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that a training run is made of. Two runs of one configuration on one machine agree.

    The defaults follow the paper (Section 5.1) where it gives a value. The command line's options
    are made from these fields.
    """

    # --- data ---
    dataset: str = option(help="Name of the data set.")
    data_dir: str = option(help="Folder of the data set.", path=True)
    size: tuple[int, int] = option(
        (384, 480), "Height x width of crops, and of evaluation.", shown="384x480"
    )
    hold_out: str | None = option(
        None, "Validate on images with this in their name, untrained.", shown="none"
    )
    train_on_val: bool = option(False, "Train on the validation split as well.", shown="")

    # --- model ---
    model: str = option("bisenetv2", f"{', '.join(MODELS)}.")
    model_options: dict = rest(
        help="Arguments of the network, see its family.", default_factory=dict
    )
    weights: str | None = option(
        None, "To start from: a run, a .keras file, or camvid.", shown="none"
    )
    boosters: bool = option(True, "Extra heads while training: four in V2, two in V1.", shown="")

    # --- augmentation ---
    scale: tuple[float, float] = rest((0.75, 2.0), "Smallest and largest magnification.")
    flip: bool = rest(True, "Mirror half of the views.")
    # The paper has none of what follows.
    jitter: float = rest(0.4, "Change of brightness, contrast and saturation.", within=SHARE)
    tint: float = rest(0.0, "Change of the white balance.", within=SHARE)
    stretch: float = rest(0.0, "Change of proportions.", within=SHARE)
    cutmix: float = rest(0.0, "Share of views with a piece of another.", within=SHARE)

    # --- optimization ---
    epochs: int = option(200, "Passes over the training split.", within=POSITIVE)
    batch_size: int = option(8, "Images in a batch.", within=POSITIVE)
    accumulate: int = option(1, "Batches to each update.", within=POSITIVE)
    optimizer: str = option("sgd", choices=("sgd", "adamw"))
    learning_rate: float | None = option(
        None, "Peak.", shown="sgd: 0.05 per 16 images; adamw: 0.002", within=POSITIVE
    )
    momentum: float = rest(0.9, "Of SGD.", within=SHARE)
    weight_decay: float = option(5e-4, "On convolution kernels.", within=NOT_NEGATIVE)
    # The paper has none; without pretrained weights it is steadier.
    warmup_epochs: float = option(1.0, shown="1", within=NOT_NEGATIVE)
    power: float = rest(0.9, "Of the polynomial decay of the learning rate.", within=POSITIVE)
    loss: str = option("cross_entropy", choices=("cross_entropy", "ohem"))
    ohem_threshold: float = rest(
        0.7, "Probability below which a pixel is hard.", within=PROBABILITY
    )
    ohem_share: float = rest(1 / 16, "At least this share of the pixels counts.", within=SHARE)
    class_weights: str = option("none", "none, sqrt, enet, median, or a number per class.")
    dice: float = option(0.0, "Factor of the Dice loss, added.", shown="0", within=NOT_NEGATIVE)
    lovasz: float = option(
        0.0, "Factor of the Lovász softmax, added.", shown="0", within=NOT_NEGATIVE
    )
    ema: float | None = option(
        None, "Momentum of an average of the weights, such as 0.998.", within=SHARE
    )

    # --- learning from a teacher ---
    teacher: str | None = option(
        None, "Learn also from a run, a .keras or a .tflite file.", shown="none", path=True
    )
    soft_labels: str | None = option(
        None, "Learn also from the shares in a folder, a file an image.", shown="none", path=True
    )
    soft_weight: float = option(1.0, "Factor of what a teacher adds.", within=NOT_NEGATIVE)
    temperature: float = option(1.0, "By which a teacher is softened.", within=POSITIVE)
    extra: str | None = option(
        None, "Folder of images and soft: more images, unlabelled.", shown="none", path=True
    )
    extra_share: float = option(0.5, "Share of a batch that they take.", within=SHARE)
    extra_until: float = option(1.0, "Share of the epochs that have them.", within=SHARE)

    # --- the step ---
    # What makes it fast and cost nothing in a comparison (docs/training.md). For the main head to
    # meet fewer labels cost little, but more than the time is worth: it is a choice.
    precision: str = option(
        "auto",
        "auto: mixed_bfloat16 where the CPU has it.",
        choices=("auto", "float32", "mixed_bfloat16"),
    )
    loss_stride: int = option(
        1, "The main head meets one label of so many, each way.", choices=(1, 2, 4, 8)
    )
    full_boosters: bool = rest(False, "Boosters' logits meet the labels at the image's size.")
    resident: bool = option(
        False, "Data and steps on one GPU or TPU, an epoch a program (JAX).", shown=""
    )

    # --- course of the run ---
    validate_every: int = option(1, "Epochs between validations.", within=POSITIVE)
    early_stop: int | None = option(
        None, "Stop after so many epochs without a better mIoU.", within=POSITIVE
    )
    seed: int = option(0, within=SEED)

    def __post_init__(self):
        if self.model not in MODELS:
            raise UsageError(f"model: {self.model!r} is none of {', '.join(MODELS)}")
        _check_size(self.size, MODELS[self.model].stride)
        _check_fields(self)
        check_class_weighting(self.class_weights)
        if self.train_on_val and self.hold_out:
            raise UsageError("train_on_val and hold_out: give one of them")
        if self.teacher and self.soft_labels:
            raise UsageError("teacher and soft_labels: give one of them")
        if self.extra and not 0 < self.extra_rows < self.batch_size:
            raise UsageError(
                f"extra_share: {self.extra_share} of a batch of {self.batch_size} is "
                f"{self.extra_rows}: leave images of both kinds"
            )
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise UsageError(f"scale: {self.scale} is no range of magnifications")

    @property
    def extra_rows(self) -> int:
        """How many images of a batch are extra ones."""
        return round(self.extra_share * self.batch_size)

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or its default: for SGD the paper's 0.05 at batch 16, in proportion."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.05 * self.batch_size * self.accumulate / 16 if self.optimizer == "sgd" else 2e-3


@dataclasses.dataclass(frozen=True)
class QuantizationConfig:
    """All that a quantized run adds to the training run that it came from."""

    mode: str = option("qat", choices=("qat", "ptq"))
    target: str = option(DEFAULT_TARGET, choices=tuple(TARGETS))
    epochs: int = option(2, within=POSITIVE)
    batch_size: int = option(8, within=POSITIVE)
    learning_rate: float = option(1e-4, "Where Adam starts.", within=POSITIVE)
    freeze_batch_norm: bool = option(True, "Keep the float model's statistics.")
    calibration_images: int = option(100, within=POSITIVE)
    seed: int = option(0, within=SEED)

    def __post_init__(self):
        _check_fields(self)


def read_config(path) -> dict:
    """Reads a YAML file of options.

    Raises:
        UsageError: When the file is missing or is no YAML mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the configuration ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: no YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a configuration is a YAML mapping of options to values")
    return values


def write_config(path, config) -> None:
    """Writes a configuration as YAML, in the order of its fields."""
    import yaml

    values = {
        field.name: _plain(field.name, getattr(config, field.name))
        for field in dataclasses.fields(config)
    }
    write_text(path, yaml.safe_dump(values, sort_keys=False))


def make_config(kind: type, values: Mapping, source: str = "the configuration"):
    """Builds a configuration from loosely typed values, as YAML and options give them.

    Args:
        kind: `TrainingConfig` or `QuantizationConfig`.
        values: Values by option name.
        source: What an error calls the place that they come from.

    Raises:
        UsageError: When an option is unknown or missing, or a value has the wrong type or no
            meaning.
    """
    hints = field_types(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    _check_known(values, fields, source)
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and values.get(name) is None:
            raise UsageError(f"{source}: {name!r} is missing: give --{name.replace('_', '-')}")
    typed = {name: _typed(name, value, hints[name], source) for name, value in values.items()}
    if "model_options" in typed:
        options, place = typed["model_options"], f"{source}: model_options"
        family = MODELS.get(typed.get("model", kind.model))
        if family:
            _check_known(options, family.options, place)
            typed["model_options"] = {
                name: _typed(name, value, family.options[name], place)
                for name, value in options.items()
            }
    try:
        return kind(**typed)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def field_types(kind: type) -> dict[str, object]:
    """The types of a configuration's fields.

    `typing.get_type_hints`, but on Python 3.9, too, which cannot evaluate `X | None`: the command
    line there lists the options of training, though training itself needs 3.10.
    """
    names = {**vars(sys.modules[kind.__module__]), "Optional": typing.Optional}
    types = {}
    for field in dataclasses.fields(kind):
        text = field.type.removesuffix(" | None")
        types[field.name] = eval(text if text == field.type else f"Optional[{text}]", names)
    return types


def parse_size(text: str) -> tuple[int, int]:
    """`"384x480"` as (384, 480), height first.

    Raises:
        ValueError: When the text is no such thing.
    """
    height, width = (int(side) for side in str(text).lower().split("x"))
    return height, width


def _typed(name: str, value, hint, source: str):
    """`value` as the type that `hint` names."""
    allows_none = type(None) in typing.get_args(hint)
    if allows_none:
        if value is None:
            return None
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    try:
        if name == "size":
            return parse_size(value) if isinstance(value, str) else _pair(value, int)
        if typing.get_origin(hint) is tuple:
            return _pair(value, float)
        if hint is float and isinstance(value, str):
            return float(value)  # YAML 1.1 reads 1e-3 as a string
        if hint is float and type(value) is int:
            return float(value)
        if type(value) is not hint:
            raise TypeError
        return value
    except (TypeError, ValueError):
        kind = "HxW, such as 384x480" if name == "size" else getattr(hint, "__name__", str(hint))
        raise UsageError(f"{source}: {name}: {value!r} is not {kind}") from None


def _pair(value, kind) -> tuple:
    first, second = value
    if isinstance(first, str) or isinstance(second, str):
        raise TypeError
    return kind(first), kind(second)


def _plain(name: str, value):
    if name == "size":
        return f"{value[0]}x{value[1]}"
    return list(value) if isinstance(value, tuple) else value


def _check_known(values: Mapping, known: Mapping, source: str) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"{source}: unknown option {name!r}: {hint}")


def _check_size(size, stride: int) -> None:
    try:
        check_size(size, stride)
    except ValueError as error:
        raise UsageError(f"size: {error}") from error


def _check_fields(config) -> None:
    """Checks every field against its choices and its range."""
    for field in dataclasses.fields(config):
        value, choices, within = getattr(config, field.name), *_limits(field)
        if value is None:
            continue
        if choices and value not in choices:
            raise UsageError(f"{field.name}: {value!r} is none of {', '.join(map(str, choices))}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{field.name}: {value} is no finite number")
        if within and not within.holds(value):
            raise UsageError(f"{field.name}: {value} {within.otherwise}")


def _limits(field: dataclasses.Field) -> tuple:
    return field.metadata.get("choices"), field.metadata.get("within")
