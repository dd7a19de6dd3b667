"""Several processes, on one host or on several, that train one model together.

The engine is Keras' own: `keras.distribution` on the JAX backend. Every process holds the whole
model and reads its rows of each batch; gradients, batch norm and the loss are those of the whole
batch, so that N processes compute what one computes with the same batch size. Process 0 alone
writes the run directory.

Where a process is lost, JAX ends the others from its own threads, by an abort that Python never
sees. The training therefore happens in a worker, a child of the process that the user started,
which lives to say what happened.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_bisenet.console import log_on_terminal
from keras_bisenet.errors import UsageError, UserError

GO_ON = "start all processes again with --resume"

# What JAX's errors hold when it is the others that are missing.
LOST = ("gloo", "nccl", "connection", "heartbeat", "unavailable", "deadline_exceeded")


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, as one of them sees them. Cheap to make and to check.

    Args:
        coordinator: `host:port` of process 0, any free port, reached by all.
        num_processes: int. How many there are.
        process_id: int. Which this is, from 0.

    Raises:
        UsageError: When that makes no sense, or `$KERAS_BACKEND` is another than JAX.
        UserError: When JAX is not installed.
    """

    coordinator: str
    num_processes: int
    process_id: int

    def __post_init__(self):
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"--coordinator {self.coordinator!r} is not HOST:PORT")
        if not 0 <= self.process_id < self.num_processes:
            raise UsageError(
                f"--process-id {self.process_id}: {self.num_processes} processes have the ids 0 "
                f"to {self.num_processes - 1}"
            )
        if os.environ.get("KERAS_BACKEND", "jax") != "jax":
            raise UsageError("several processes train on JAX alone: set KERAS_BACKEND=jax")
        if importlib.util.find_spec("jax") is None:
            raise UserError("several processes need JAX, which is not installed: pip install jax")

    def __str__(self):
        return f"process {self.process_id} of {self.num_processes}"


def run_in_worker(work: Callable, arguments: tuple, cluster: Cluster):
    """Calls `work(*arguments)` in a process of its own that is part of the cluster.

    Keras' backend there is JAX. What XLA and the network library print is kept in a temporary
    file until the work is done.

    Returns:
        What it returns.

    Raises:
        UserError: When the work raises one, when another process is lost, or the worker is.
    """
    handle, log = tempfile.mkstemp(prefix=f"keras-bisenet-process-{cluster.process_id}-")
    os.close(handle)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(sender, log, work, arguments, cluster))
    worker.start()
    sender.close()
    keep_log = False
    try:
        *messages, (kind, value) = _messages(receiver)
        if kind == "result":
            return value
        if kind == "error":
            raise value
        keep_log = True
        worker.join()
        raise UserError(_death(worker.exitcode, bool(messages), cluster, log))
    finally:
        receiver.close()
        worker.kill()  # where Ctrl-C has come before its end
        worker.join()
        if not keep_log:
            os.unlink(log)


def _messages(receiver) -> Iterator[tuple]:
    """What the worker says, in pairs, up to its end: of its work, or before it."""
    kind = "connected"
    while kind == "connected":
        try:
            kind, value = receiver.recv()
        except EOFError:
            kind, value = "death", None
        yield kind, value


def _death(exit_code: int, connected: bool, cluster: Cluster, log: str) -> str:
    """What a worker has died of that could not say it."""
    if not connected:
        reason = f"did not meet the others at {cluster.coordinator} (JAX waits 5 minutes): see"
        cure = "check --coordinator and --num-processes, and that the port is open"
    elif exit_code == -9:
        reason, cure = "was killed, perhaps for want of memory: see", GO_ON
    else:
        reason, cure = "lost another process, or the connection to it: see", GO_ON
    return f"{cluster} {reason} {log}; {cure}"


def _work(sender, log: str, work: Callable, arguments: tuple, cluster: Cluster) -> None:
    """The worker, from its beginning to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_native_messages(log)
    try:
        os.environ["KERAS_BACKEND"] = "jax"
        import jax
        import keras

        # How processes on CPUs talk to each other; early versions have nothing by default.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize(
            cluster.coordinator, cluster.num_processes, cluster.process_id
        )
        sender.send(("connected", None))
        with log_on_terminal():
            result = work(*arguments)
        jax.distributed.shutdown()  # waits for the others
        sender.send(("result", result))
    except (UserError, OSError) as error:
        sender.send(("error", error))
    except Exception as error:
        if any(word in str(error).lower() for word in LOST):
            os.write(2, f"{error}\n".encode())
        else:
            traceback.print_exc()
            sender.send(("error", UserError(f"{cluster} failed: the lines above say where")))
    sys.stdout.flush()
    os._exit(1)  # an orderly end would wait minutes for processes that are not to come


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _keep_native_messages(log: str) -> None:
    """Sends what C++ prints into `log`; what Python prints still goes where it went."""
    sys.stdout, sys.stderr = (os.fdopen(os.dup(i), "w", buffering=1) for i in (1, 2))
    with open(log, "wb") as file:
        for i in (1, 2):
            os.dup2(file.fileno(), i)


def share() -> tuple[int, int]:
    """Which of how many processes this is: (0, 1) where it trains alone."""
    import keras

    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_main() -> bool:
    """Whether this process writes the run directory, and speaks."""
    return share()[0] == 0


def gather(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, which have one shape: `[num_processes, ...]`."""
    if share()[1] == 1:
        return array[None]
    from jax.experimental import multihost_utils

    # By its bytes, since JAX would make 32-bit numbers of 64-bit ones.
    data = np.frombuffer(array.tobytes(), np.uint8)
    rows = np.ascontiguousarray(multihost_utils.process_allgather(data))
    return rows.view(array.dtype).reshape(-1, *array.shape)


def check_same(**values) -> None:
    """Compares values of all processes, by their `repr`.

    Raises:
        UsageError: In all of them, when a value differs; names it.
    """
    ours = np.array([zlib.crc32(repr(value).encode()) for value in values.values()], np.uint32)
    everybodys = gather(ours)
    for name, wrong in zip(values, (everybodys != everybodys[0]).any(axis=0)):
        if wrong:
            raise UsageError(
                f"the processes do not agree about the {name.replace('_', ' ')}: start all of "
                "them with the same options, data and run directory"
            )


def on_this_process_alone(model, preparing: Callable = contextlib.nullcontext):
    """A copy of a distributed model for each process to use by itself, as for validation.

    Args:
        model: The model, part of the distribution.
        preparing: Makes a context manager in which the model has the weights to copy.

    Returns:
        The copy, and what makes the context manager in which it has the model's present weights
        and may be called.
    """
    with _no_distribution():
        import keras

        copy = keras.models.clone_model(model)

    @contextlib.contextmanager
    def ready() -> Iterator[None]:
        with preparing():
            weights = model.get_weights()
        with _no_distribution():
            copy.set_weights(weights)
            yield

    return copy, ready


@contextlib.contextmanager
def _no_distribution() -> Iterator[None]:
    import keras

    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)
