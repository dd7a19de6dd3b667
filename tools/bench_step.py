"""Measures a training step beside that of another checkout of this project, taking turns.

    git worktree add first 372e33b
    python tools/bench_step.py --against first

Each contestant is a process of its own that builds and compiles the network by its checkout's own
code, the code behind `keras-bisenet train`: BiSeNet V2 with its boosters, weighted cross-entropy,
AdamW, the same random batch in memory. They take turns of a few steps (A B A B ...), and the ratio
is taken turn by turn. CPU seconds are those of the process, so other work on the machine disturbs
them little; wall seconds mean something on an idle machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORKER = "--worker"

ARMS = {
    "the default": {},
    "in float32": {"precision": "float32"},
    "the main head meets a quarter of the labels": {"loss_stride": 2},
    "the same in float32": {"precision": "float32", "loss_stride": 2},
    "all heads meet all labels, in float32": {"precision": "float32", "full_boosters": True},
}
"""What this checkout is measured with: changes to the configuration."""


def main() -> None:
    """Runs the benchmark, or, in a process that it started, one contestant."""
    if sys.argv[1:2] == [WORKER]:
        work(json.loads(sys.argv[2]))
        return
    options = parser().parse_args()
    here = Path(__file__).resolve().parents[1]
    contestants = {f"{options.against}": Contestant(Path(options.against).resolve(), {}, options)}
    for name in ARMS if options.all else list(ARMS)[:1]:
        contestants[name] = Contestant(here, ARMS[name], options)
    turns = {name: [] for name in contestants}
    for name, contestant in contestants.items():
        print(f"{name}: {contestant.ready()}", flush=True)
    for turn in range(options.turns):
        for name, contestant in contestants.items():
            turns[name].append(contestant.turn())
        shown = ", ".join(f"{name} {times[-1]['cpu']:.3f}" for name, times in turns.items())
        print(f"  turn {turn + 1}/{options.turns}, CPU seconds a step: {shown}", flush=True)
    for contestant in contestants.values():
        contestant.end()
    first = turns[str(options.against)]
    height, width = options.size
    print(
        f"\n{height}x{width}, batch {options.batch_size}, threads: {options.threads}, "
        f"medians of {options.turns} turns of {options.steps} steps\n\n"
        "| | CPU s a step | faster by | wall s a step | faster by |\n|---|---|---|---|---|"
    )
    for name, times in turns.items():
        cells = []
        for clock in ("cpu", "wall"):
            ratios = [before[clock] / after[clock] for before, after in zip(first, times)]
            cells.append(f"{statistics.median(one[clock] for one in times):.3f}")
            cells.append(
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                if times is not first
                else "1"
            )
        print(f"| {name} | {' | '.join(cells)} |")


class Contestant:
    """A process that takes turns of training steps when it is asked to."""

    def __init__(self, checkout: Path, changes: dict, options):
        settings = {
            "size": options.size,
            "batch_size": options.batch_size,
            "threads": options.threads,
            "steps": options.steps,
            "warmup": options.warmup,
            "changes": changes,
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, WORKER, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout), "KERAS_BACKEND": "tensorflow"},
        )

    def ready(self) -> str:
        """Waits until it has built and warmed up; what it says of itself."""
        return self._answer()["about"]

    def turn(self) -> dict[str, float]:
        """Seconds a step in a turn, by clock."""
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("Error: a contestant has ended: run this with its checkout's packages")
        return json.loads(line)


def work(settings: dict) -> None:
    """A contestant, from its beginning to its end."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    import keras
    import numpy as np

    step, about = make_step(settings, np.random.default_rng(0), np)
    for _ in range(settings["warmup"]):
        step()
    print(json.dumps({"about": f"Keras {keras.__version__}, {about}"}), flush=True)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(settings["steps"]):
            step()
        seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps({k: v / settings["steps"] for k, v in seconds.items()}), flush=True)


def make_step(settings: dict, random, np):
    """A training step as the checkout on Python's path makes it, and what it computes in."""
    from keras_bisenet.models import build_model
    from keras_bisenet.training.config import TrainingConfig
    from keras_bisenet.training.losses import make_loss
    from keras_bisenet.training.optimizers import WarmupPolynomialDecay
    from keras_bisenet.training.trainer import compile_model

    shape = (settings["batch_size"], *settings["size"])
    images = random.random((*shape, 3), np.float32)
    masks = random.integers(0, 11, shape, np.int32)
    config = TrainingConfig(
        dataset="random",
        data_dir="",
        size=shape[1:],
        optimizer="adamw",
        **settings["changes"],
    )
    model = build_model("bisenetv2", 11, boosters=True)
    about, labels = "the checkout's own step", [masks] * len(model.outputs)
    if hasattr(config, "loss_stride"):
        from keras_bisenet.training.devices import suitable_precision
        from keras_bisenet.training.step import training_model

        precision = suitable_precision()[0] if config.precision == "auto" else config.precision
        model = training_model(model, precision, config.loss_stride, config.full_boosters)
        labels = masks
        about = f"{precision}, strides {', '.join(map(str, model.label_strides))}"
    schedule = WarmupPolynomialDecay(1e-3, total_steps=1000, warmup_steps=100)
    compile_model(model, config, schedule, make_loss(class_weights=[1.0] * 11))
    return lambda: float(model.train_on_batch(images, labels, return_dict=True)["loss"]), about


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description="Measures a training step beside that of another checkout of this project."
    )
    found.add_argument("--against", metavar="DIR", required=True, help="the other checkout")
    found.add_argument("--all", action="store_true", help="also without each part of the step")
    found.add_argument("--size", metavar="HxW", type=size, default=(256, 320))
    for option, default in (
        ("--batch-size", 8),
        ("--threads", 1),
        ("--turns", 5),
        ("--steps", 3),
        ("--warmup", 2),
    ):
        found.add_argument(option, metavar="N", type=int, default=default, help=f"[{default}]")
    return found


def size(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.lower().split("x"))
    return height, width


if __name__ == "__main__":
    main()
