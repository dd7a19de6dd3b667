"""Accelerators as TFLite delegates: `edgetpu`, `edgetpu:usb`, or the path of a library.

A delegate is a C++ library that shares the runtime's memory layout, so one that is too old, or
a device that is gone, ends in whatever comes first: no device, an error without a reason, or a
crash. Each of them becomes one line with its cure. Edge TPUs: Google's last library is of 2021
and crashes TFLite from 2.12 on; https://github.com/feranick/libedgetpu builds it anew for each
release, and its packages go with ai-edge-litert.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_bisenet.console import log
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.lite.model_file import ModelFile

EDGETPU_OPERATOR = "edgetpu-custom-op"
EDGETPU_LIBRARIES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
EDGETPU_RELEASES = "https://github.com/feranick/libedgetpu/releases"

TRIAL_SECONDS = 60.0
"""A first inference takes seconds where a USB Edge TPU gets its firmware."""


@dataclass(frozen=True)
class Delegate:
    """A delegate as the user asked for it.

    Attributes:
        name: What the user said.
        library: The library's name or path.
        options: What its library is told, such as `{"device": "usb"}`.
        is_edgetpu: Whether it is for Edge TPUs.
    """

    name: str
    library: str
    options: dict[str, str] = field(default_factory=dict)
    is_edgetpu: bool = False

    @classmethod
    def named(cls, name: str, options: Mapping[str, str] | None = None) -> Delegate:
        """The delegate that `edgetpu`, `edgetpu:DEVICE` or a library's path names.

        DEVICE is `usb` or `pci`, a number from 0 on, or both: `usb:1`. Its library is told the
        `options` as they are; what they mean, it alone knows.

        Raises:
            UsageError: When the device makes no sense, or is named twice.
        """
        given = dict(options or {})
        kind, _, device = name.partition(":")
        if kind == "edgetpu":
            if name != kind and not re.fullmatch(r"(usb|pci)(:\d+)?|\d+", device):
                raise UsageError(
                    f"--delegate {name}: the device is usb, pci, a number, or both: edgetpu:usb:0"
                )
            if device and "device" in given:
                raise UsageError(f"--delegate {name}: the option device names another one")
            if device:
                given["device"] = f":{device}" if device.isdigit() else device
            library = EDGETPU_LIBRARIES.get(sys.platform, "libedgetpu.so.1")
            return cls(name, library, given, is_edgetpu=True)
        # A path without a slash would be looked for among the system's libraries only.
        library = os.path.abspath(name) if os.path.exists(name) else name
        is_edgetpu = os.path.basename(name).startswith(("libedgetpu", "edgetpu."))
        return cls(name, library, given, is_edgetpu=is_edgetpu)

    def check_library(self) -> None:
        """Looks at what a runtime takes on trust: that there is a library, and a delegate in it."""
        try:
            functions = ctypes.CDLL(self.library)
        except OSError as error:
            cure = "give edgetpu, or the path of a TFLite delegate's library"
            if self.is_edgetpu:
                cure = f"install the Edge TPU runtime: libedgetpu1-std of {EDGETPU_RELEASES}"
            raise UserError(
                f"delegate {self.name}: cannot load {self.library} ({error}): {cure}"
            ) from error
        if not hasattr(functions, "tflite_plugin_create_delegate"):
            raise UserError(
                f"delegate {self.name}: {self.library} is no TFLite delegate: give edgetpu, or "
                "the path of a TFLite delegate's library"
            )

    def load(self, runtime: Any) -> Any:
        """Starts the delegate for `runtime`, whose interpreter takes what is returned."""
        try:
            return runtime.load_delegate(self.library, self.options)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or "it gives no reason"
            cure = "see that its device is there"
            if self.options:
                cure += ", and that it knows " + _shown(self.options)
            if self.is_edgetpu:
                device = self.options.get("device")
                which = f" as {device}" if device else ""
                cure = (
                    f"see that an Edge TPU is plugged in{which} (lsusb shows 1a6e:089a or "
                    "18d1:9302), and that this user is in the group plugdev"
                )
                others = {key: self.options[key] for key in self.options if key != "device"}
                if others:
                    cure += ", and that its library knows " + _shown(others)
            raise UserError(
                f"delegate {self.name}: it does not start ({reason}): {cure}"
            ) from error

    def check_file(self, file: ModelFile) -> None:
        """Warns of a file that none of whose operators the Edge TPU can take."""
        if self.is_edgetpu and not is_compiled(file):
            log.warning(
                "%s: it is not compiled for the Edge TPU, so all of it runs on the CPU: "
                "edgetpu_compiler makes NAME_edgetpu.tflite of it",
                file.path,
            )

    def warn_of_idleness(self, file: ModelFile) -> None:
        """Says that it took no operator of a file, which it need not: a runtime goes on without."""
        if self.is_edgetpu and not is_compiled(file):
            return  # said by `check_file`, with the reason
        log.warning(
            "%s: the delegate %s took none of its operators, so all of it runs on the CPU: see "
            "which it takes, and in which precision",
            file.path,
            self.name,
        )

    def why_not(self, reason: str) -> str:
        """Why it could not take its part of a model, with the cure."""
        reason = f"the delegate {self.name} cannot run it: {reason}"
        if self.is_edgetpu:
            reason += f": its library may be older than this runtime, get {EDGETPU_RELEASES}"
        return reason

    def lost(self, reason: str) -> str:
        """What to say when an inference fails."""
        cure = "see that its device is there, and start again"
        if self.is_edgetpu:
            cure = "see that the Edge TPU is plugged in and has the power it needs, and start again"
        return f"the delegate {self.name} stopped answering ({reason}): {cure}"


def is_compiled(file: ModelFile) -> bool:
    """Whether the Edge TPU compiler has made an operator of this file."""
    operators = (op for graph in file.subgraphs for op in graph.operators)
    return any(op.is_custom and op.name == EDGETPU_OPERATOR for op in operators)


_TRIAL = """
import json, os, sys
sys.path[:] = sys.argv[3:]
from keras_bisenet.runtime.delegates import took_operators
from keras_bisenet.runtime.interpreter import open_interpreter
content, options = sys.stdin.buffer.read(), json.loads(sys.argv[2])
interpreter = open_interpreter(
    content, delegate=sys.argv[1], delegate_options=options, is_trial=True
)
interpreter.invoke()
if not took_operators(interpreter):
    os.write(1, b"idle")
os._exit(0)  # without a farewell: what the library does at the end is not asked here
"""


def took_operators(interpreter: Any) -> bool:
    """Whether a delegate runs any part of the model, the runtime's own (XNNPACK) counted."""
    try:
        operators = interpreter._get_ops_details()
    except AttributeError:  # no public call tells; a runtime that lacks this one tells nothing
        return True
    return any(operator["op_name"].startswith("DELEGATE") for operator in operators)


def _shown(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def try_out(delegate: Delegate, file: ModelFile) -> None:
    """Runs a first inference in a process of its own, which alone ends should it crash.

    Warns where the delegate took no operator.

    Raises:
        UserError: When it crashes, or does not come back.
    """
    options = json.dumps(delegate.options)
    command = [sys.executable, "-c", _TRIAL, delegate.library, options, *sys.path]
    cure = "see that its library was made for this runtime"
    if delegate.is_edgetpu:
        cure = (
            "its library is older than the runtime (Google's last is of 2021): install "
            f"libedgetpu1-std of {EDGETPU_RELEASES}"
        )
    try:
        done = subprocess.run(
            command,
            input=file.data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"delegate {delegate.name}: its first inference does not end: unplug the device, plug "
            "it in again, and start again"
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UserError(
            f"delegate {delegate.name}: it crashes at its first inference ({name}): {cure}"
        )
    # Any other failure is no crash: it will be met again here, and told.
    if done.returncode == 0 and done.stdout.endswith(b"idle"):
        delegate.warn_of_idleness(file)


def guarded(invoke: Callable[[], None], delegate: str | None, path: str) -> None:
    """Runs an inference, with an error of one line."""
    try:
        invoke()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if delegate is None:
            raise UserError(f"{path}: the runtime fails on it: {reason}") from error
        raise UserError(f"{Path(path).name}: {Delegate.named(delegate).lost(reason)}") from error
