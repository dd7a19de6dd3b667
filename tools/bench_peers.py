"""Measures keras-bisenet beside the PyTorch implementation that one would pick instead, on a CPU.

    git clone https://github.com/CoinCheung/BiSeNet
    python -m venv torch && torch/bin/pip install torch onnx onnxscript onnxruntime
    python tools/bench_peers.py --torch-repo BiSeNet --torch-python torch/bin/python

1. Training throughput: BiSeNet V2 with its four training heads, OHEM on all five outputs, SGD,
   on the same random batch in memory. Ours is built and compiled by the code behind
   `keras-bisenet train`; theirs is their model and their loss, stepped as their training script
   steps it, in float32, and again at its best: channels last, and bfloat16 where the CPU has it.
2. With `--inference MODEL.tflite`, latency: that file with a TFLite runtime, and their network
   (with random weights) at its size and number of classes, in ONNX Runtime and in PyTorch, each
   to the class id of every pixel. Ours begins with an image, theirs with a float tensor that is
   ready for the network.

The frameworks' thread pools would disturb each other in one process, so every measurement is a
process of its own, bound to as many CPUs as it has threads, and the contestants take turns
(A B A B ...); ratios are taken turn by turn. Measure on a machine that does nothing else: next to
a busy process PyTorch's OpenMP threads wait for each other, and it slows down many times over. On
Linux the program watches what else ran on its CPUs, and says so.

Their repository is used as it is, with two things turned off from outside: the download of
backbone weights when a model is made, and the loss's move of its threshold to a GPU.

The two networks are not the same: their main head is 1024 channels wide where ours has 128 by
default, and their training heads have one more convolution. The table gives the multiply-
accumulates of both; `--head-width 1024` gives ours about as many as theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout

from keras_bisenet.errors import UsageError, UserError, how_to_install  # noqa: E402
from keras_bisenet.files import write_json  # noqa: E402

REFERENCE = "https://github.com/CoinCheung/BiSeNet"
REFERENCE_MODEL = "lib/models/bisenetv2.py"
REFERENCE_LOSS = "lib/ohem_ce_loss.py"
OURS = "keras-bisenet"
THEIRS = "CoinCheung/BiSeNet"
THEIR_BEST = f"{THEIRS}, best"

NUM_CLASSES = 19  # Cityscapes

BUSY = 0.1
"""How many CPUs' time other processes may take before a turn is called disturbed."""

WORKER = "--worker"
"""The first argument of the processes that this program starts; the second is what they do."""


def main() -> int:
    """Runs the benchmark, or, in a process that it started, one turn of one contestant."""
    try:
        if sys.argv[1:2] == [WORKER]:
            print(json.dumps(WORKERS[sys.argv[2]](json.load(sys.stdin))))
        else:
            benchmark(_parser().parse_args())
    except (UserError, OSError) as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("Error: interrupted: no report is written", file=sys.stderr)
        return 130
    return 0


def benchmark(options) -> None:
    """Measures what the options ask for, prints the tables and writes the JSON report.

    Raises:
        UserError: When something is missing: the reference, a module, the `.tflite` file.
    """
    _check(options)
    _bind(options.threads)
    from keras_bisenet.runtime.bench import cpu_name  # the PyTorch side may lack what it imports

    settings = {
        "torch_repo": os.path.abspath(options.torch_repo),
        "threads": options.threads,
        "warmup": options.warmup,
    }
    report = {
        "cpu": cpu_name(),
        "machine": platform.machine(),
        "threads": options.threads,
        "turns": options.turns,
        "warmup": options.warmup,
        "reference": {"url": REFERENCE, "commit": _commit(options.torch_repo)},
    }
    print(
        f"{report['cpu']} ({report['machine']}), {_count(options.threads, 'thread')}; "
        f"{THEIRS} at {(report['reference']['commit'] or 'an unknown commit')[:17]}"
    )
    if options.inference:
        report["inference"] = measure_inference(options, settings)
    if not options.no_training:
        report["training"] = measure_training(options, settings)
    if options.json:
        write_json(options.json, report)


def measure_training(options, settings: dict) -> dict:
    """Seconds per training step of ours and theirs; returns the report's part, and prints it."""
    height, width = options.size
    settings = {
        **settings,
        "steps": options.steps,
        "size": [height, width],
        "batch_size": options.batch_size,
        "num_classes": NUM_CLASSES,
        "head_width": options.head_width,
    }
    print(
        f"\nTraining, {height}x{width}, batch {options.batch_size}, {NUM_CLASSES} classes, "
        f"four training heads, OHEM, SGD; our heads {options.head_width} wide; "
        f"{_count(options.turns, 'turn')} of {_count(options.steps, 'step')}"
    )
    contestants = {
        OURS: ("train_keras", sys.executable),
        THEIRS: ("train_torch", options.torch_python),
        THEIR_BEST: ("train_torch_best", options.torch_python),
    }
    results = take_turns(contestants, settings, options.turns)
    for result in results.values():
        result["images_per_second"] = options.batch_size / result["seconds"]
    _print_table(results, "s/step", 1.0, {"images/s": "images_per_second", "GMAC": "gmacs"})
    keys = ("steps", "size", "batch_size", "num_classes", "head_width")
    return {**{key: settings[key] for key in keys}, "results": results}


def measure_inference(options, settings: dict) -> dict:
    """Latency of a `.tflite` file and of their network; returns the report's part, printed too."""
    info = _tflite_info(options.inference)
    height, width = info.size
    print(
        f"\nInference, {height}x{width}, batch 1, {_count(len(info.names), 'class', 'es')}; "
        f"{options.inference}; {_count(options.turns, 'turn')} of {_count(options.runs, 'run')}"
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            **settings,
            "steps": options.runs,
            "tflite": os.path.abspath(options.inference),
            "onnx": os.path.join(folder, "reference.onnx"),
            "size": [height, width],
            "num_classes": len(info.names),
        }
        _turn("export_onnx", options.torch_python, settings)
        contestants = {
            OURS: ("infer_tflite", sys.executable),
            f"{THEIRS}, ONNX": ("infer_onnx", options.torch_python),
            f"{THEIRS}, eager": ("infer_torch", options.torch_python),
        }
        results = take_turns(contestants, settings, options.turns)
    _print_table(results, "ms", 1000.0, {})
    return {
        "model": options.inference,
        "bytes": os.path.getsize(options.inference),
        **{key: settings[key] for key in ("steps", "size", "num_classes")},
        "results": results,
    }


def take_turns(contestants: dict, settings: dict, turns: int) -> dict:
    """Runs every contestant once a turn, in order.

    Args:
        contestants: `{name: (worker, python)}`, ours first.
        settings: What the workers are told.
        turns: int. Turns of each.

    Returns:
        `{name: figures}`. A contestant's figures are what its worker tells of itself,
        `step_seconds` (a list per turn), `other_work` (how many CPUs other processes kept busy,
        per turn), `seconds` (the median of its turns' medians) and, for all but ours,
        `ours_is_faster`: how many times as fast ours is, for each turn, and the least, median
        and largest of these.
    """
    figures: dict[str, dict] = {}
    disturbed = False
    for turn in range(1, turns + 1):
        shown = []
        for name, (worker, python) in contestants.items():
            other_work = _OtherWork()
            answer = _turn(worker, python, settings)
            seconds = answer.pop("seconds")
            of_name = figures.setdefault(name, {**answer, "step_seconds": [], "other_work": []})
            of_name["step_seconds"].append(seconds)
            of_name["other_work"].append(other_work.cpus())
            is_disturbed = (of_name["other_work"][-1] or 0.0) > BUSY
            disturbed |= is_disturbed
            shown.append(f"{name} {statistics.median(seconds):.3f} s{'*' if is_disturbed else ''}")
        print(f"  turn {turn}/{turns}: {', '.join(shown)}", flush=True)
    if disturbed:
        print("  * other work ran on these CPUs meanwhile: measure again on an idle machine")
    medians = {
        name: [statistics.median(seconds) for seconds in of_name["step_seconds"]]
        for name, of_name in figures.items()
    }
    for name, of_name in figures.items():
        of_name["seconds"] = statistics.median(medians[name])
        if name != OURS:
            ratios = [theirs / ours for theirs, ours in zip(medians[name], medians[OURS])]
            of_name["ours_is_faster"] = {
                "turns": ratios,
                "min": min(ratios),
                "median": statistics.median(ratios),
                "max": max(ratios),
            }
    return figures


# === What runs in a process of its own ===


def train_keras(settings: dict) -> dict:
    """Our training step, as `keras-bisenet train` makes it."""
    import keras
    import tensorflow as tf

    from keras_bisenet.models import build_model
    from keras_bisenet.models.cost import cost_by_part
    from keras_bisenet.training.config import TrainingConfig
    from keras_bisenet.training.devices import suitable_precision
    from keras_bisenet.training.losses import make_loss
    from keras_bisenet.training.optimizers import WarmupPolynomialDecay
    from keras_bisenet.training.step import training_model
    from keras_bisenet.training.trainer import compile_model

    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    options = {"boosters": True, "head_width": settings["head_width"]}
    size = tuple(settings["size"])
    config = TrainingConfig(
        dataset="random", data_dir="", size=size, batch_size=settings["batch_size"]
    )
    precision, _ = suitable_precision()
    plain = build_model("bisenetv2", settings["num_classes"], **options)
    model = training_model(plain, precision, loss_stride=2, full_boosters=False)  # at its best
    schedule = WarmupPolynomialDecay(config.peak_learning_rate, total_steps=1000, warmup_steps=100)
    compile_model(model, config, schedule, make_loss("ohem"))
    images, masks = _random_batch(settings)

    def step():
        logs = model.train_on_batch(images, masks, return_dict=True)
        return float(logs["loss"])

    seconds = _timed(step, settings)
    model_of_size = build_model("bisenetv2", settings["num_classes"], (*size, 3), **options)
    return {
        "framework": f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {precision}",
        "gmacs": cost_by_part(model_of_size, size)["total"].macs / 1e9,
        "seconds": seconds,
    }


def train_torch_best(settings: dict) -> dict:
    """Their training step as fast as PyTorch makes it here: channels last, and bfloat16 where the
    CPU multiplies it."""
    return train_torch(settings, at_its_best=True)


def train_torch(settings: dict, at_its_best: bool = False) -> dict:
    """Their training step: model, loss, parameter groups and constants of their repository."""
    import contextlib

    import numpy as np
    import torch

    torch.set_num_threads(settings["threads"])
    torch.Tensor.cuda = lambda tensor: tensor  # their loss moves its threshold to a GPU
    model = _reference(settings, "train").train()
    ohem = _import(settings, REFERENCE_LOSS).OhemCELoss(0.7)
    decayed, plain, decayed_in_heads, plain_in_heads = model.get_params()
    optimizer = torch.optim.SGD(
        [
            {"params": decayed + decayed_in_heads},
            {"params": plain + plain_in_heads, "weight_decay": 0.0},
        ],
        lr=5e-3,
        momentum=0.9,
        weight_decay=5e-4,
    )
    images, masks = _random_batch(settings)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    masks = torch.from_numpy(masks.astype(np.int64))

    precision = contextlib.nullcontext()
    if at_its_best:
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
        precision = torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16())

    def step():
        optimizer.zero_grad()
        with precision:
            outputs = model(images)
        loss = sum(ohem(logits.float(), masks) for logits in outputs)
        loss.backward()
        optimizer.step()
        return loss.item()

    seconds = _timed(step, settings)
    return {
        "framework": f"PyTorch {torch.__version__}",
        "gmacs": _macs(model, images[:2]) / 1e9,
        "seconds": seconds,
    }


def export_onnx(settings: dict) -> dict:
    """Writes their network, with the argmax behind it, as an ONNX file."""
    import torch

    model, image = _reference_segmenter(settings)
    torch.onnx.export(
        model,
        (image,),
        settings["onnx"],
        opset_version=18,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    return {}


def infer_tflite(settings: dict) -> dict:
    """A `.tflite` file, from an image in memory to class ids at the image's size."""
    from keras_bisenet.runtime.bench import synthetic_image
    from keras_bisenet.runtime.interpreter import runtime_name
    from keras_bisenet.runtime.segmenter import Segmenter

    segmenter = Segmenter(settings["tflite"], threads=settings["threads"])
    image = synthetic_image(tuple(settings["size"]))
    return {
        "framework": f"{runtime_name()}, {segmenter.info.input_dtype}",
        "seconds": _timed(lambda: segmenter.segment(image), settings),
    }


def infer_onnx(settings: dict) -> dict:
    """Their network in ONNX Runtime, from a float tensor to class ids."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    session = onnxruntime.InferenceSession(
        settings["onnx"], options, providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(0).random((1, 3, *settings["size"]), dtype=np.float32)
    feed = {session.get_inputs()[0].name: image}
    return {
        "framework": f"ONNX Runtime {onnxruntime.__version__}, float32",
        "seconds": _timed(lambda: session.run(None, feed), settings),
    }


def infer_torch(settings: dict) -> dict:
    """Their network in PyTorch as it is, from a float tensor to class ids."""
    import torch

    torch.set_num_threads(settings["threads"])
    model, image = _reference_segmenter(settings)
    with torch.inference_mode():
        seconds = _timed(lambda: model(image), settings)
    return {"framework": f"PyTorch {torch.__version__}, float32", "seconds": seconds}


def find_modules(settings: dict) -> dict:
    """Whether this Python has the modules that are asked for: better now than in ten minutes."""
    for module in settings["modules"]:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{sys.executable} has no {module}: {settings['cure']}")
    return {}


WORKERS = {
    worker.__name__: worker
    for worker in (
        train_keras,
        train_torch,
        train_torch_best,
        export_onnx,
        infer_tflite,
        infer_onnx,
        infer_torch,
        find_modules,
    )
}


def _has_bfloat16() -> bool:
    """Whether Linux says that this x86 CPU multiplies bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


def _timed(step, settings: dict) -> list[float]:
    """Seconds of each call of `step`, those that warm it up left out."""
    seconds = []
    for _ in range(settings["warmup"] + settings["steps"]):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[settings["warmup"] :]


def _random_batch(settings: dict):
    """Images, float32 [n, h, w, 3] in [0, 1], and masks, uint8 [n, h, w]."""
    import numpy as np

    random = np.random.default_rng(0)
    shape = (settings["batch_size"], *settings["size"])
    images = random.random((*shape, 3), np.float32)
    return images, random.integers(0, settings["num_classes"], shape, np.uint8)


def _reference(settings: dict, aux_mode: str):
    """Their BiSeNet V2, without the download of weights: the speed does not depend on them."""

    class Untrained(_import(settings, REFERENCE_MODEL).BiSeNetV2):
        def load_pretrain(self):
            pass

    return Untrained(settings["num_classes"], aux_mode)


def _reference_segmenter(settings: dict):
    """Their network with the argmax over its logits, and an input for it."""
    import torch

    class Segmenter(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network(image)[0].argmax(dim=1)

    network = _reference(settings, "eval")
    return Segmenter(network).eval(), torch.rand(1, 3, *settings["size"])


def _import(settings: dict, path: str):
    """One file of their repository as a module: their packages import more than is needed here."""
    spec = importlib.util.spec_from_file_location(
        Path(path).stem, os.path.join(settings["torch_repo"], path)
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _macs(model, images) -> int:
    """Multiply-accumulates of the convolutions in `model` for one of `images`."""
    import torch

    counts = []

    def count(convolution, _, output):
        counts.append(output[0].numel() * convolution.weight[0].numel())

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(images)
    return sum(counts)


# === Processes ===


def _turn(worker: str, python: str, settings: dict) -> dict:
    """Runs a worker in a process of its own; returns what it answers."""
    try:
        done = subprocess.run(
            [python, __file__, WORKER, worker],
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"},
        )
    except OSError as error:
        raise UsageError(f"{python}: {error.strerror}: give --torch-python a Python") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UserError(f"{worker}: {last[0]}".replace(f"{worker}: Error: ", ""))
    return json.loads(done.stdout.splitlines()[-1])  # libraries may have said something before


def _check(options) -> None:
    """Looks, before any work, for what would fail later."""
    for path in (REFERENCE_MODEL, REFERENCE_LOSS):
        if not os.path.isfile(os.path.join(options.torch_repo, path)):
            raise UsageError(f"{options.torch_repo}: no {path} there: git clone {REFERENCE}")
    if options.no_training and not options.inference:
        raise UsageError("--no-training leaves nothing to measure: give --inference MODEL.tflite")
    ours, theirs = ["click", "numpy", "PIL"], ["numpy", "torch"]
    if not options.no_training:
        ours += ["tensorflow", "keras"]
    if options.inference:
        theirs += ["onnx", "onnxscript", "onnxruntime"]
    find_modules({"modules": ours, "cure": how_to_install("train")})
    cure = f"pip install {' '.join(theirs)}, or give --torch-python a Python that has them"
    _turn("find_modules", options.torch_python, {"modules": theirs, "cure": cure})
    if options.inference:
        _tflite_info(options.inference)


def _tflite_info(path: str):
    """What a `.tflite` file says of itself."""
    from keras_bisenet.runtime.segmenter import Segmenter

    return Segmenter(path, threads=1).info


def _bind(threads: int) -> None:
    """Binds this process, and those that it starts, to as many CPUs as there are threads."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < threads:
        raise UsageError(f"--threads {threads}: this process may use {_count(len(cpus), 'CPU')}")
    os.sched_setaffinity(0, cpus[:threads])


class _OtherWork:
    """Measures what other processes do on the CPUs that this one is bound to, where Linux tells.

    It counts from its making on: from then on this process only waits for its children.
    """

    def __init__(self):
        self._before = self._clocks()

    def cpus(self) -> float | None:
        """How many CPUs others kept busy, on average: 0.0 on an idle machine."""
        if self._before is None:
            return None
        wall, busy, own = (b - a for a, b in zip(self._before, self._clocks()))
        return max(0.0, (busy - own) / wall)

    @staticmethod
    def _clocks() -> tuple[float, float, float] | None:
        """Seconds: the clock, that our CPUs were busy, that our children kept them busy."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in stat.read_text().splitlines():
            cpu, *counts = line.split()
            if cpu in ours:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counts[:8])
                ticks += user + nice + system + irq + softirq + steal
        times = os.times()
        return (
            time.perf_counter(),
            ticks / os.sysconf("SC_CLK_TCK"),
            times.children_user + times.children_system,
        )


def _commit(repository: str) -> str | None:
    """The commit of a git checkout, or None if it is none."""
    try:
        command = ["git", "-C", repository, "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# === The terminal ===


def _print_table(results: dict, unit: str, factor: float, columns: dict) -> None:
    """Prints medians, extra `columns` (`{title: key}`), and how many times as fast ours is."""
    titles = "".join(f"{title:>10}" for title in (unit, *columns))
    print(f"{'':26}{titles}   ours is faster by")
    for name, figures in results.items():
        cells = (figures["seconds"] * factor, *(figures[key] for key in columns.values()))
        ratio = figures.get("ours_is_faster")
        faster = "{median:.2f} x ({min:.2f} to {max:.2f})".format(**ratio) if ratio else ""
        numbers = "".join(f"{cell:10.2f}" for cell in cells)
        print(f"{name:26}{numbers}   {faster:26}{figures['framework']}")


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measures keras-bisenet beside the PyTorch BiSeNet V2 of CoinCheung/BiSeNet "
        "on this machine's CPU: training throughput and, on request, latency.",
    )
    parser.add_argument(
        "--torch-repo", metavar="DIR", required=True, help=f"a checkout of {REFERENCE}"
    )
    parser.add_argument(
        "--torch-python",
        metavar="FILE",
        default=sys.executable,
        help="a Python with torch, and for --inference onnx, onnxscript and onnxruntime "
        "(default: this one)",
    )
    parser.add_argument("--inference", metavar="MODEL.tflite", help="also measure latency")
    parser.add_argument("--no-training", action="store_true", help="measure latency alone")
    for option, metavar, kind, default, text in (
        ("--size", "HxW", _size, "256x512", "size of the images in training"),
        ("--batch-size", "N", _positive, 4, "images in a training step"),
        ("--head-width", "N", _positive, 128, "channels in our heads; their main head has 1024"),
        ("--turns", "N", _positive, 3, "turns that each takes"),
        ("--steps", "N", _positive, 6, "timed training steps in a turn"),
        ("--runs", "N", _positive, 30, "timed images in a turn of --inference"),
        ("--warmup", "N", _positive, 2, "steps or runs before the timed ones"),
        ("--threads", "N", _positive, 2, "CPU threads"),
    ):
        parser.add_argument(
            option,
            metavar=metavar,
            type=kind,
            default=default,
            help=f"{text} (default: {default})",
        )
    parser.add_argument("--json", metavar="FILE", help="also write the figures for programs")
    return parser


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 256x512") from None
    if height <= 0 or width <= 0 or height % 32 or width % 32:
        raise argparse.ArgumentTypeError(f"{text}: sides must be multiples of 32")
    return height, width


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return number


if __name__ == "__main__":
    sys.exit(main())
