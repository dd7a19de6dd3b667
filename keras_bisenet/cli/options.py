"""Option types that several commands share."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import typing
from collections.abc import Callable
from pathlib import Path

import click

from keras_bisenet.console import quiet_stderr
from keras_bisenet.errors import UsageError, UserError, how_to_install
from keras_bisenet.pretrained import named_model
from keras_bisenet.targets import TARGETS


class Size(click.ParamType):
    """`HxW`, height by width in pixels: `384x480`."""

    name = "HxW"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            height, width = (int(side) for side in value.lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not height x width, such as 384x480", param, ctx)
        if height <= 0 or width <= 0:
            self.fail(f"{value!r}: sides must be positive", param, ctx)
        return height, width


class CameraSize(click.ParamType):
    """`WxH`, width by height in pixels, as cameras and their data sheets count: `1280x720`.

    The value is (height, width), as everywhere else.
    """

    name = "WxH"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            width, height = (int(side) for side in value.lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not width x height, such as 1280x720", param, ctx)
        if not (16 <= height <= 16384 and 16 <= width <= 16384):
            self.fail(f"{value!r}: sides from 16 to 16384 pixels", param, ctx)
        return height, width


class Duration(click.ParamType):
    """Seconds, minutes or hours: `90`, `90s`, `10m`, `1h`. The value is in seconds."""

    name = "TIME"

    def convert(self, value, param, ctx):
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
        if not found or not float(found[1]):
            self.fail(f"{value!r} is no time, such as 90s, 10m or 1h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class Model(click.Path):
    """A model's file, or the name of one that comes with the package: `camvid-small`."""

    def convert(self, value, param, ctx):
        return named_model(super().convert(value, param, ctx))


MODEL = Model()
SIZE = Size()
CAMERA_SIZE = CameraSize()
DURATION = Duration()
TARGET = click.Choice(list(TARGETS))


class DelegateOption(click.ParamType):
    """`NAME=VALUE`: something that a delegate's library is told."""

    name = "NAME=VALUE"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not name or not sign:
            self.fail(f"{value!r} is not NAME=VALUE, such as Performance=Low", param, ctx)
        return name, text


def delegate_options(command):
    """The options that name an accelerator. The command gets `delegate`, and `delegate_options`,
    a dict."""

    @functools.wraps(command)
    def with_dict(*args, delegate, delegate_option, **others):
        if delegate_option and not delegate:
            raise UsageError("--delegate-option goes with --delegate")
        names = [name for name, _ in delegate_option]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise UsageError(f"--delegate-option {twice}: given twice")
        options = dict(delegate_option)
        return command(*args, delegate=delegate, delegate_options=options, **others)

    for option in (
        click.option(
            "--delegate-option",
            type=DelegateOption(),
            multiple=True,
            help="Tell the delegate's library, for instance Performance=Low. Can be repeated.",
        ),
        click.option(
            "--delegate",
            metavar="edgetpu[:DEVICE]|PATH",
            help="Edge TPU, or a TFLite delegate library.",
        ),
    ):
        with_dict = option(with_dict)
    return with_dict


def configuration_options(kind: type) -> Callable:
    """A decorator that gives a command an option for every field of a configuration that has one.

    Args:
        kind: A dataclass whose fields `training.config.option` made. An option that is not given
            is None, so that the field's default, or a file's value, holds.
    """
    from keras_bisenet.training.config import field_types

    hints = field_types(kind)

    def decorate(command):
        # click lists what was put on first last.
        for field in reversed(dataclasses.fields(kind)):
            if field.metadata["command_line"]:
                command = _option(field, hints[field.name])(command)
        return command

    return decorate


def _option(field: dataclasses.Field, hint) -> Callable:
    about, name = field.metadata, field.name.replace("_", "-")
    shown = f"[{about['shown']}]" if about["shown"] else ""
    help_text = "  ".join(part for part in (about["help"], shown) if part)
    if hint is bool:
        return click.option(f"--{name}/--no-{name}", default=None, help=help_text)
    return click.option(f"--{name}", type=_parameter_type(field, hint), help=help_text)


def _parameter_type(field: dataclasses.Field, hint):
    if field.metadata["path"]:
        return click.Path()
    if field.name == "size":
        return SIZE
    (kind,) = [arm for arm in typing.get_args(hint) if arm is not type(None)] or [hint]
    choices = field.metadata["choices"]
    if choices and kind is str:
        return click.Choice(choices)
    return kind


ANY_CLASSES = "Take the data set's classes by number where their names are others."


@contextlib.contextmanager
def training_half():
    """Turns the absence of TensorFlow and its friends, and a backend of Keras that nothing here
    runs on, into one line that names the cure."""
    check_backend()
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "keras_bisenet":
            raise
        raise UserError(
            f"this command needs {error.name}, which is not installed: {how_to_install('train')}"
        ) from error


BACKENDS = ("tensorflow", "jax")


def check_backend() -> None:
    """Refuses, before work begins, a backend of Keras that models here do not run on.

    Raises:
        UsageError: When the environment, or else Keras' own settings, ask for another one.
    """
    backend, where = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not backend:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        where = home / "keras.json"
        try:
            backend = json.loads(where.read_text(encoding="utf-8")).get("backend")
        except (OSError, ValueError, AttributeError):
            return  # Keras' default
    if backend and backend not in BACKENDS:
        raise UsageError(f"{where}: Keras' backend {backend!r} is none of {' and '.join(BACKENDS)}")


def load_tensorflow() -> None:
    """Imports TensorFlow without its greetings, which no log level of its own turns off.

    Raises:
        ModuleNotFoundError: When it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import keras  # noqa: F401
        import tensorflow

        # Where there is no GPU, CUDA says so when it is first asked.
        tensorflow.config.list_physical_devices("GPU")
