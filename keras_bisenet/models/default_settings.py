"""The global settings that Keras begins with, whatever a `keras.json` or a caller has set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def default_settings(*kerases) -> Iterator[None]:
    """Keras' default settings inside the block, the caller's again behind it.

    A layer that is not told takes them: inside, it computes in float32 on channels-last images.
    What is made here is not told, for the two Kerases have no argument for it in common.

    Args:
        *kerases: Those whose settings they are: `keras`, `tf_keras`.
    """
    before = []
    for keras in kerases:
        backend, mixed_precision = keras.backend, keras.mixed_precision
        for read, write, default in (
            (backend.floatx, backend.set_floatx, "float32"),
            (backend.image_data_format, backend.set_image_data_format, "channels_last"),
            (mixed_precision.global_policy, mixed_precision.set_global_policy, "float32"),
        ):
            setting = read()
            before.append((read, write, setting))
            if getattr(setting, "name", setting) != default:
                write(default)
    try:
        yield
    finally:
        for read, write, setting in before:
            if read() != setting:
                write(setting)
