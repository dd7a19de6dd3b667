"""The targets, what each runs of a `.tflite` file, and `check`, which says so.

To add one: a module here with its rules and its `TARGET`, and its name below.
"""

from __future__ import annotations

from keras_bisenet.targets.target import Targets

TARGETS = Targets(
    "cpu",
    "coral",
    "nnapi",
)
"""All targets, by name."""

DEFAULT_TARGET = "cpu"
