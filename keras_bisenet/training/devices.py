"""What a run computes on: the devices that share a batch, and the precision that suits them."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from keras_bisenet.console import log
from keras_bisenet.errors import UsageError
from keras_bisenet.training import distributed

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""What Linux calls the instructions that multiply bfloat16; without them it is many times slower
than float32."""

AVX2, AVX512 = "AVX2", "AVX512"
"""What `cpu_instructions` tells apart."""

WITHOUT_AVX512 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")
"""What oneDNN can be limited to (ONEDNN_MAX_CPU_ISA) that is less than AVX512."""

WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""What oneDNN can be limited to (ONEDNN_MAX_CPU_ISA) that has no instructions for it."""


def use_all_devices(batch_size: int) -> None:
    """Shares batches between all devices of all processes, where the backend is JAX.

    Raises:
        UsageError: When a batch does not divide among them.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    if len(devices) <= 1:
        return
    if batch_size % len(devices):
        raise UsageError(
            f"a batch of {batch_size} does not divide among {len(devices)} devices: "
            f"choose a --batch-size that is a multiple of {len(devices)}"
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    if distributed.is_main():
        processes = distributed.share()[1]
        where = f" of {processes} processes" if processes > 1 else ""
        log.info("training on %d devices%s", len(devices), where)


def check_resident() -> None:
    """Finds out whether `resident` can be had.

    Raises:
        UsageError: When Keras' backend is not JAX, or there are several devices.
    """
    backend = keras.backend.backend()
    if backend != "jax":
        raise UsageError(f"--resident trains on JAX, not on {backend}: set KERAS_BACKEND=jax")
    count = len(keras.distribution.list_devices())
    if count > 1:
        raise UsageError(
            f"--resident trains on one device, and there are {count}: leave it out, or show JAX "
            "one of them (CUDA_VISIBLE_DEVICES=0)"
        )


def suitable_precision() -> tuple[str, str]:
    """The precision that `auto` means here, and why.

    bfloat16 where TensorFlow computes on a CPU that has instructions for it; float32 elsewhere.
    """
    if keras.backend.backend() != "tensorflow":
        return "float32", f"on {keras.backend.backend()}, bfloat16 is left to --precision"
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "float32", "on a GPU, bfloat16 and float16 are left to --precision"
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return "float32", "oneDNN is turned off, without which bfloat16 is slow"
    limit = _limit()
    if limit.upper() in WITHOUT_BFLOAT16:
        return "float32", f"oneDNN is limited to {limit}, without bfloat16"
    found = [flag for flag in BFLOAT16_FLAGS if flag in _cpu_flags()]
    if not found:
        return "float32", "this CPU has no instructions for bfloat16"
    return "mixed_bfloat16", f"this CPU has {found[0]}"


def cpu_instructions() -> str | None:
    """What oneDNN computes float32 with on this CPU: `AVX2` alone or `AVX512`; None where it is
    turned off, and on others."""
    flags = _cpu_flags()
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or "avx2" not in flags:
        return None
    return AVX512 if "avx512bw" in flags and _limit().upper() not in WITHOUT_AVX512 else AVX2


def _limit() -> str:
    """The instructions that oneDNN is limited to, as it names them."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the CPU can do, as Linux names it; nothing on other systems."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    # Of x86 CPUs alone: there the kernels were measured.
    return set(next((line.split() for line in lines if line.startswith("flags")), []))
