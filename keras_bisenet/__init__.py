"""BiSeNet V2 for small devices: train in Keras, quantize, convert to int8 TFLite, prove, run.

Importing this package imports no TensorFlow: the device half must do without it.
"""

from keras_bisenet.version import __version__

__all__ = ["LabelMap", "__version__", "bisenetv2"]


def __getattr__(name):
    if name == "bisenetv2":
        from keras_bisenet.models.bisenetv2 import bisenetv2

        return bisenetv2
    if name == "LabelMap":
        from keras_bisenet.label_map import LabelMap

        return LabelMap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
