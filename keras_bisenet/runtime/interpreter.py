"""The TFLite runtime: the one that is installed, opened with one line of error or none.

`ai-edge-litert` is taken where it is installed, else `tflite-runtime`. The environment variable
`KERAS_BISENET_RUNTIME` names one of the two to insist on.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping

import numpy as np

from keras_bisenet.console import quiet_stderr
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.lite.model_file import ModelFile, read_model_file
from keras_bisenet.runtime.delegates import Delegate, try_out

RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""Distribution -> the module in it that has `Interpreter`, the preferred one first."""


def open_interpreter(
    model: str | os.PathLike | bytes | ModelFile,
    *,
    threads: int | None = None,
    delegate: str | None = None,
    delegate_options: Mapping[str, str] | None = None,
    reference: bool = False,
    preserve_all_tensors: bool = False,
    is_trial: bool = False,
):
    """An interpreter with its tensors allocated, ready for `set_tensor` and `invoke`.

    Args:
        model: A `.tflite` file, its content, or the file as read.
        threads: CPU threads. None takes `default_threads()`.
        delegate: "edgetpu" for a Coral Edge TPU, "edgetpu:DEVICE" for one of several (`usb`,
            `pci`, `0`, `usb:0`), or the path of a TFLite delegate's library.
        delegate_options: What the delegate's library is told, by name.
        reference: Takes TFLite's portable reference kernels, which answer an 8-bit model with
            the same bytes in every runtime and on every processor, and are some 40 times slower.
            The kernels that runtimes choose otherwise round differently in the last bit.
        preserve_all_tensors: Keeps the tensors inside the network readable after `invoke`.
        is_trial: Whether this is the trial that a delegate is put to first, in a process of its
            own, which it may crash. The runtime's own delegate (XNNPACK) is left out there, so
            that what is taken is the accelerator's.

    Returns:
        The `Interpreter` of the installed runtime.

    Raises:
        UserError: When there is no runtime, no such file, the file is no TFLite model or a
            damaged one (which an old runtime takes on trust, and crashes), the runtime cannot
            run it, or the delegate cannot be used.
    """
    name, runtime = _runtime()
    file = read_model_file(model)
    accelerator = Delegate.named(delegate, delegate_options) if delegate else None
    delegates = None
    if accelerator:
        accelerator.check_library()
        if not is_trial:
            accelerator.check_file(file)
            try_out(accelerator, file)  # before: a device serves one process at a time
        with _quiet():
            delegates = [accelerator.load(runtime)]
    kernels = runtime.OpResolverType.BUILTIN_REF if reference else runtime.OpResolverType.AUTO
    if is_trial:
        kernels = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with _quiet(), warnings.catch_warnings():
            # The runtime warns that keeping all tensors takes memory, which is what was asked.
            warnings.simplefilter("ignore", UserWarning)
            interpreter = runtime.Interpreter(
                model_content=file.data,
                num_threads=threads or default_threads(),
                experimental_delegates=delegates,
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=preserve_all_tensors,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if "edgetpu-custom-op" in reason and not (accelerator and accelerator.is_edgetpu):
            reason = "compiled for the Edge TPU: run it with the delegate edgetpu"
        elif accelerator:
            reason = accelerator.why_not(reason)
        elif "Didn't find op" in reason:
            reason = f"it is newer than this {name} ({reason}): pip install -U {name}"
        else:
            reason = f"{name} cannot run it: {reason}"
        raise UserError(f"{file.path}: {reason}") from error
    return interpreter


def runtime_name() -> str:
    """The runtime in use and its version: "ai-edge-litert 2.3.0"."""
    name, _ = _runtime()
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # as system images may install it
        return name


def default_threads() -> int:
    """One thread per CPU that this process may use, and at most four.

    More rarely help a network of this size, and on big.LITTLE processors they hinder: the slow
    cores keep the fast ones waiting.
    """
    if hasattr(os, "sched_getaffinity"):
        return min(4, len(os.sched_getaffinity(0)))
    return min(4, os.cpu_count() or 1)


def _runtime():
    """The runtime's distribution name and its module."""
    forced = os.environ.get("KERAS_BISENET_RUNTIME")
    if forced and forced not in RUNTIMES:
        raise UsageError(
            f"KERAS_BISENET_RUNTIME={forced}: no such runtime, choose one of {', '.join(RUNTIMES)}"
        )
    candidates = [forced] if forced else list(RUNTIMES)
    for name in candidates:
        if importlib.util.find_spec(RUNTIMES[name].split(".")[0]):
            return name, _import_runtime(name)
    if sys.maxsize < 2**32:
        raise UserError(
            "this Python is 32-bit, and no TFLite runtime is made for it: take a 64-bit system "
            "(64-bit Raspberry Pi OS)"
        )
    raise UserError(
        f"no TFLite runtime here ({' or '.join(candidates)}): pip install {candidates[0]}"
    )


def _import_runtime(name: str):
    if name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It imports, and fails at the first model with a SystemError.
        raise UserError(
            f"{name} was made for NumPy 1, and NumPy {np.__version__} is installed: pip install "
            "'numpy<2', or ai-edge-litert in its place"
        )
    try:
        return importlib.import_module(RUNTIMES[name])
    except ImportError as error:
        raise UserError(
            f"{name} cannot be imported ({error}): pip install --force-reinstall {name}"
        ) from error


def _quiet():
    """Keeps the runtime's `INFO: ...` lines, which come from C++, off the terminal."""
    return quiet_stderr(keep=lambda line: not line.startswith(b"INFO: "))
