"""Typed configurations: defaults here, overridden by a YAML file, overridden by options.

Everything is checked here, before any work begins.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path

from keras_bisenet.data.class_weights import check_class_weighting
from keras_bisenet.errors import UsageError
from keras_bisenet.files import write_text
from keras_bisenet.models import MODELS
from keras_bisenet.models.family import check_size
from keras_bisenet.targets import TARGETS


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that a training run is made of. Two runs of one configuration on one machine agree.

    The defaults follow the paper (Section 5.1) where it gives a value.
    """

    # --- data ---
    dataset: str
    data_dir: str
    size: tuple[int, int] = (384, 480)  # height, width of the crops, and of evaluation

    # --- model ---
    model: str = "bisenetv2"
    model_options: dict = dataclasses.field(default_factory=dict)  # see its family
    weights: str | None = None  # to start from: a run, a .keras file, or camvid
    boosters: bool = True
    precision: str = "float32"  # or mixed_bfloat16, mixed_float16

    # --- augmentation ---
    scale: tuple[float, float] = (0.75, 2.0)
    flip: bool = True
    jitter: float = 0.4  # the paper has none, nor what follows
    tint: float = 0.0
    stretch: float = 0.0
    cutmix: float = 0.0

    # --- optimization ---
    epochs: int = 200
    batch_size: int = 8
    accumulate: int = 1  # batches to each update
    optimizer: str = "sgd"  # or adamw
    learning_rate: float | None = None  # peak; None chooses by optimizer and batch
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on convolution kernels alone
    warmup_epochs: float = 1.0  # the paper has none; without pretrained weights it is steadier
    power: float = 0.9  # of the polynomial decay
    loss: str = "cross_entropy"  # or ohem
    ohem_threshold: float = 0.7
    ohem_share: float = 1 / 16  # at least this share of the pixels counts
    class_weights: str = "none"  # or sqrt, enet, median, or numbers: 1,1,2.5
    dice: float = 0.0  # factor of the Dice loss, added
    lovasz: float = 0.0  # factor of the Lovász softmax, added
    ema: float | None = None  # momentum of an average of the weights, such as 0.998

    # --- course of the run ---
    seed: int = 0
    validate_every: int = 1  # epochs
    early_stop: int | None = None  # epochs without a better mIoU

    def __post_init__(self):
        _check_choice("model", self.model, MODELS)
        _check_size(self.size, MODELS[self.model].stride)
        _check_choice("precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))
        _check_choice("optimizer", self.optimizer, ("sgd", "adamw"))
        _check_choice("loss", self.loss, ("cross_entropy", "ohem"))
        _check_positive(self, "epochs", "batch_size", "accumulate", "validate_every")
        _check_positive(self, "learning_rate", "power", "early_stop")
        _check_not_negative(self, "weight_decay", "warmup_epochs", "dice", "lovasz")
        check_class_weighting(self.class_weights)
        _check_share(self, "momentum", "ohem_threshold", "ohem_share", "ema")
        _check_share(self, "jitter", "tint", "stretch", "cutmix")
        _check_seed(self.seed)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale: {self.scale} is no range of magnifications")

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or its default: for SGD the paper's 0.05 at batch 16, in proportion."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.05 * self.batch_size * self.accumulate / 16 if self.optimizer == "sgd" else 2e-3


@dataclasses.dataclass(frozen=True)
class QuantizationConfig:
    """All that a quantized run adds to the training run that it came from."""

    mode: str = "qat"  # or ptq
    target: str = "cpu"
    epochs: int = 2
    batch_size: int = 8
    learning_rate: float = 1e-4  # where Adam starts
    freeze_batch_norm: bool = True  # keeps the float model's statistics
    calibration_images: int = 100
    seed: int = 0

    def __post_init__(self):
        _check_choice("mode", self.mode, ("qat", "ptq"))
        _check_choice("target", self.target, TARGETS)
        _check_positive(self, "epochs", "batch_size", "learning_rate", "calibration_images")
        _check_seed(self.seed)


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
    hints = typing.get_type_hints(kind)
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


def _check_choice(name: str, value: str, choices) -> None:
    if value not in choices:
        raise UsageError(f"{name}: {value!r} is none of {', '.join(choices)}")


def _check_positive(config, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UsageError(f"{name}: {value} is not positive")


def _check_not_negative(config, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 0:
            raise UsageError(f"{name}: {getattr(config, name)} is negative")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise UsageError(f"seed: {seed} does not lie between 0 and 2147483647")


def _check_share(config, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}: {value} does not lie between 0 and 1")
