"""Option types that several commands share."""

from __future__ import annotations

import contextlib
import os
import re

import click

from keras_bisenet.console import quiet_stderr
from keras_bisenet.errors import UserError
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


SIZE = Size()
CAMERA_SIZE = CameraSize()
DURATION = Duration()
DELEGATE = "edgetpu[:DEVICE]|PATH"
TARGET = click.Choice(list(TARGETS))


@contextlib.contextmanager
def training_half():
    """Turns the absence of TensorFlow and its friends into one line that names the cure."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "keras_bisenet":
            raise
        raise UserError(
            f"this command needs {error.name}, which is not installed: "
            "pip install 'keras-bisenet[train]'"
        ) from error


def load_tensorflow() -> None:
    """Imports TensorFlow without its greetings, which no log level of its own turns off.

    Raises:
        ModuleNotFoundError: When it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
