"""BiSeNet V2 for small devices: train in Keras, quantize, convert to int8 TFLite, prove, run.

Importing this package imports neither TensorFlow nor NumPy: each public name is loaded from its
place when it is first asked for, so that the device half does without the training half.
docs/api.md has an example of each.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.version import __version__

if TYPE_CHECKING:
    from keras_bisenet.data import load_dataset
    from keras_bisenet.export.compare import compare
    from keras_bisenet.export.convert import convert
    from keras_bisenet.imaging.drawing import overlay
    from keras_bisenet.imaging.reading import read_image
    from keras_bisenet.label_map import LabelMap
    from keras_bisenet.models.bisenetv2 import bisenetv2
    from keras_bisenet.quantization.quantizer import quantize
    from keras_bisenet.runtime.segmenter import Answer, Segmenter
    from keras_bisenet.segmenters import open_segmenter
    from keras_bisenet.targets.check import check
    from keras_bisenet.training.config import QuantizationConfig, TrainingConfig
    from keras_bisenet.training.evaluation import score
    from keras_bisenet.training.run import Run
    from keras_bisenet.training.trainer import train

_PLACES = {
    # the device half
    "Answer": "runtime.segmenter",
    "LabelMap": "label_map",
    "Segmenter": "runtime.segmenter",
    "check": "targets.check",
    "overlay": "imaging.drawing",
    "read_image": "imaging.reading",
    # the training half
    "QuantizationConfig": "training.config",
    "Run": "training.run",
    "TrainingConfig": "training.config",
    "bisenetv2": "models.bisenetv2",
    "compare": "export.compare",
    "convert": "export.convert",
    "load_dataset": "data",
    "open_segmenter": "segmenters",
    "quantize": "quantization.quantizer",
    "score": "training.evaluation",
    "train": "training.trainer",
}

__all__ = [
    "Answer",
    "LabelMap",
    "QuantizationConfig",
    "Run",
    "Segmenter",
    "TrainingConfig",
    "UsageError",
    "UserError",
    "__version__",
    "bisenetv2",
    "check",
    "compare",
    "convert",
    "load_dataset",
    "open_segmenter",
    "overlay",
    "quantize",
    "read_image",
    "score",
    "train",
]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value  # from now on without this detour
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
