"""`keras-bisenet check`: whether a `.tflite` file runs on its target as a whole."""

from __future__ import annotations

import dataclasses
import json

import click

from keras_bisenet import files
from keras_bisenet.cli.options import MODEL, TARGET, load_tensorflow, training_half
from keras_bisenet.cli.tables import printable, short, table
from keras_bisenet.errors import UsageError
from keras_bisenet.lite.model_file import Tensor
from keras_bisenet.progress import progress_bar
from keras_bisenet.targets import TARGETS
from keras_bisenet.targets.check import Finding, OperatorVerdict, Verdict, check
from keras_bisenet.targets.graph import shown_shape, shown_type

SHOWN_LAYERS = 10


@click.command("check")
@click.argument("model", type=MODEL)
@click.option(
    "--target",
    type=TARGET,
    help="What it is to run on.  [default: what the file says, else cpu]",
)
@click.option("--operators", is_flag=True, help="List every operator, mapped ones too.")
@click.option("--against", metavar="RUN", help="Compare its answers with those of this run.")
@click.option("--data-dir", metavar="DIR", help="Folder of the run's data set.  [the run's]")
@click.option("--split", help="The split to compare on.  [default: val]")
@click.option("--images", type=click.IntRange(1), help="Compare on so many images.  [default: all]")
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Also write the verdict for programs; - writes it to the terminal instead.",
)
def command(model, target, operators, against, data_dir, split, images, json_file):
    """Check a .tflite file against its target and its trained model.

    Shows which operators the target takes, and for the others which rule says so. MODEL may be
    any TFLite file. Exits with 0 when it passes and with 1 when it falls short.

    With --against also the layers that quantization harms most: by the noise of their own, which
    points to the culprit, and in all, with what came in.
    """
    if not against and (data_dir or split or images):
        raise UsageError("--data-dir, --split and --images go with --against RUN")
    if json_file and json_file != "-":
        files.check_output(json_file, "--json")
    report = check(model, target)
    comparison = None
    if against and report.operators:
        comparison = _compare(model, against, data_dir, split or "val", images)
        report = report.with_findings(
            [
                *(Finding("against", "error", line) for line in comparison.shortcomings()),
                *(Finding("against", "warning", line) for line in comparison.remarks()),
            ]
        )
    result = report.to_json()
    if comparison:
        result["against"] = comparison.to_json()
    if json_file == "-":
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo("\n".join(_lines(report, comparison, operators)))
        if json_file:
            files.write_json(json_file, result)
    if not report.passed:
        raise click.exceptions.Exit(1)


def _compare(model: str, run: str, data_dir: str | None, split: str, images: int | None):
    with training_half():
        load_tensorflow()
        from keras_bisenet.export.compare import compare
        from keras_bisenet.training.run import Run

        opened = Run.open(run)
        config = opened.config
        config = dataclasses.replace(config, data_dir=str(data_dir or config.data_dir))
        dataset = opened.load_dataset(config)
        dataset.require_labels(split)
        available = len(dataset.split(split))
        with progress_bar(f"comparing on {split}", min(images or available, available)) as update:
            return compare(
                model, run, data_dir=data_dir, split=split, images=images, progress=update
            )


def _lines(report: Verdict, comparison, with_mapped: bool) -> list[str]:
    """The verdict for people."""
    shown = [o for o in report.operators if with_mapped or (o.refusal and not _runs_not(report))]
    lines = []
    if shown:
        header = ("", "operator", "version", "output", "type", "mapped", "reason")
        rows = [_operator_row(operator) for operator in shown]
        lines += [*table([header, *rows], right=(0, 2)), ""]
    lines += [line for finding in report.findings for line in _finding_lines(finding)]
    if report.findings:
        lines.append("")
    if comparison:
        lines += [*_layer_lines(comparison), _comparison_line(comparison), ""]
    return [*map(printable, lines), _verdict(report)]


def _operator_row(operator: OperatorVerdict) -> tuple:
    return (
        operator.index,
        short(operator.name, 40),
        operator.version,
        " ".join(shown_shape(tensor) for tensor in operator.outputs[:3]),
        _type(operator.outputs[0]) if operator.outputs else "",
        "yes" if operator.mapped else "no",
        short(operator.reason, 200),
    )


def _type(tensor: Tensor) -> str:
    """`int8 0.0235 -128`: a tensor's type with its scale and zero point, where it has them."""
    if not tensor.scales:
        return shown_type(tensor.dtype)
    if len(tensor.scales) > 1:
        return f"{shown_type(tensor.dtype)}, {len(tensor.scales)} scales"
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    return f"{shown_type(tensor.dtype)} {tensor.scales[0]:.4g} {zero_point}"


def _finding_lines(finding: Finding) -> list[str]:
    place = "" if finding.operator is None else f"operator {finding.operator}: "
    lines = [f"{finding.severity:<8} {finding.rule}: {place}{short(finding.message, 400)}"]
    if finding.source:
        lines.append(f"{'':<8} {finding.source}")
    return lines


def _layer_lines(comparison) -> list[str]:
    """The worst layers; none where the file has none of the run's."""
    layers = comparison.layers
    if not layers:
        return []
    count = min(len(layers), SHOWN_LAYERS)
    header = ("layer", "", "operator", "own", "in all")
    rows = [
        (layer.layer, layer.operator, layer.op, _decibels(layer.own), _decibels(layer.total))
        for layer in layers[:count]
    ]
    return [
        f"signal-to-noise by layer against the run's float model, the {count} worst of "
        f"{len(layers)} ({comparison.operators} operators):",
        *table([header, *rows], right=(1, 3, 4)),
        "",
    ]


def _decibels(ratio: float | None) -> str:
    return "exact" if ratio is None else f"{ratio:.1f} dB"


def _comparison_line(comparison) -> str:
    return (
        f"against the run, {comparison.images} images of {comparison.split}: mIoU "
        f"{comparison.miou_file:.4f} against {comparison.miou_run:.4f}, "
        f"{comparison.agreement:.2%} of the pixels agree"
    )


def _verdict(report: Verdict) -> str:
    verdict = "passes" if report.passed else "falls short"
    if not report.operators or _runs_not(report):
        return f"{verdict} for {report.target}"
    target, left = TARGETS[report.target], report.total - report.mapped
    share = f"{report.mapped} of {report.total} operators run on {target.runner}"
    rest = f", {left} on {target.elsewhere}" if left else ""
    return f"{verdict} for {report.target}: {share}{rest}"


def _runs_not(report: Verdict) -> bool:
    """Whether the runtime refuses the file as a whole, which is one finding and not many."""
    return any(f.rule == "runtime" and f.severity == "error" for f in report.findings)
