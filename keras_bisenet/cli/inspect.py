"""`keras-bisenet inspect`: what is inside a `.tflite` file, whoever made it."""

from __future__ import annotations

import json

import click

from keras_bisenet import files
from keras_bisenet.cli.options import MODEL
from keras_bisenet.cli.tables import printable, short, table
from keras_bisenet.lite.model_file import (
    ModelFile,
    Operator,
    Subgraph,
    Tensor,
    macs,
    parameters,
    read_model_file,
)
from keras_bisenet.lite.record import read_record
from keras_bisenet.lite.standard_metadata import read_standard_metadata


@click.command()
@click.argument("model", type=MODEL)
@click.option("--operators", is_flag=True, help="List every operator.")
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(),
    help="Write the same for programs; - writes it to the terminal instead.",
)
def command(model, operators, json_file):
    """Show what is inside a .tflite file.

    Its inputs and outputs, what it says of itself (classes, data set, mIoU), its operators, and
    how many parameters and multiply-accumulates (MACs) they have. MODEL may be any TFLite file.
    """
    if json_file and json_file != "-":
        files.check_output(json_file, "--json")
    report = describe(read_model_file(model), operators)
    if json_file == "-":
        click.echo(json.dumps(report, indent=2))
        return
    click.echo("\n".join(_lines(report)))
    if json_file:
        files.write_json(json_file, report)


def describe(model: ModelFile, with_operators: bool = False) -> dict:
    """What the command shows, as plain values.

    Raises:
        UserError: When the file's metadata is damaged.
    """
    record = read_record(model)
    report = {
        "file": model.path,
        "size": model.size,
        "schema_version": model.version,
        "description": model.description,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "metadata": record.to_json() if record else None,
        "standard_metadata": read_standard_metadata(model),
        "metadata_entries": list(model.metadata),
        "subgraphs": len(model.subgraphs),
        "operator_counts": _operator_counts(model),
        "macs": model.macs,
        "parameters": model.parameters,
    }
    if with_operators:
        report["operators"] = [
            {"subgraph": number, **_operator(operator, graph)}
            for number, graph in enumerate(model.subgraphs)
            for operator in graph.operators
        ]
    return report


def _tensor(tensor: Tensor) -> dict:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape_signature or tensor.shape),
        "dtype": tensor.dtype,
        "scales": list(tensor.scales),
        "zero_points": list(tensor.zero_points),
    }


def _operator(operator: Operator, graph: Subgraph) -> dict:
    outputs = [graph.tensors[i] for i in operator.outputs if i >= 0]
    return {
        "index": operator.index,
        "name": operator.name,
        "custom": operator.is_custom,
        "version": operator.version,
        "outputs": [{"shape": list(t.shape), "dtype": t.dtype} for t in outputs],
        "fused_activation": operator.fused_activation,
        "macs": macs(operator, graph),
    }


def _operator_counts(model: ModelFile) -> list[dict]:
    """The operators by kind, the most costly first."""
    kinds = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = kinds.setdefault(
                (operator.name, operator.is_custom),
                {
                    "name": operator.name,
                    "custom": operator.is_custom,
                    "count": 0,
                    "macs": 0,
                    "parameters": 0,
                },
            )
            kind["count"] += 1
            kind["macs"] += macs(operator, graph)
            kind["parameters"] += parameters(operator, graph)
    return sorted(kinds.values(), key=lambda kind: (-kind["macs"], -kind["count"], kind["name"]))


def _lines(report: dict) -> list[str]:
    """The report for people."""
    facts = [f"{report['size']:,} bytes", _shown(report["description"])]
    lines = [f"{click.format_filename(report['file'])}: {', '.join(filter(None, facts))}"]
    for title in ("inputs", "outputs"):
        lines += ["", title.capitalize(), *_indented(_tensor_row(t) for t in report[title])]
    if report["metadata"]:
        lines += ["", "Metadata", *_record_lines(report["metadata"])]
    elif report["standard_metadata"]:
        lines += ["", "Metadata", *_standard_lines(report["standard_metadata"])]
    header = ("operator", "count", "MACs", "parameters")
    kinds = [
        (_shown(kind["name"]), kind["count"], f"{kind['macs']:,}", f"{kind['parameters']:,}")
        for kind in report["operator_counts"]
    ]
    count = sum(kind["count"] for kind in report["operator_counts"])
    total = ("total", count, f"{report['macs']:,}", f"{report['parameters']:,}")
    lines += ["", *_indented([header, *kinds, total], right=(1, 2, 3))]
    if report["subgraphs"] > 1:
        lines.append(f"  In {report['subgraphs']} subgraphs, each counted once.")
    if any(kind["custom"] for kind in report["operator_counts"]):
        lines.append("  What is inside custom operators is not counted.")
    if "operators" in report:
        header = ("", "operator", "version", "output", "type", "activation", "MACs")
        rows = [_operator_row(operator, report["subgraphs"]) for operator in report["operators"]]
        lines += ["", *_indented([header, *rows], right=(0, 2, 6))]
    return lines


def _tensor_row(tensor: dict) -> tuple:
    return (
        _shown(tensor["name"]),
        _shape(tensor["shape"]),
        tensor["dtype"],
        _quantization(tensor["scales"], tensor["zero_points"]),
    )


def _quantization(scales: list[float], zero_points: list[int]) -> str:
    if not scales:
        return ""
    if len(scales) > 1:
        return f"{len(scales)} scales"
    return f"scale {scales[0]:.9g}, zero point {zero_points[0] if zero_points else 0}"


def _record_lines(record: dict) -> list[str]:
    image, output = record["input"], record["output"]
    measured = "not measured"
    if record["miou"] is not None:
        measured = f"{record['miou']:.4f} on {record['split'] or 'an unnamed split'}"
        if record["miou_of"]:
            measured += f" ({record['miou_of']})"
    facts = [
        ("model", record["model"]),
        ("target", f"{record['target']}, {record['precision']}"),
        ("data set", record["dataset"]),
        ("mIoU", measured),
        ("made by", record["generator"]),
        (
            "input",
            f"{image['height']}x{image['width']}, pixel * {image['scale']:.9g} + "
            f"{image['offset']:g}; {image['fit']}",
        ),
        ("output", f"{output['kind']}, stride {output['stride']}"),
        ("classes", len(record["classes"])),
    ]
    classes = [
        (number, "#{:02x}{:02x}{:02x}".format(*entry["color"]), _shown(entry["name"]))
        for number, entry in enumerate(record["classes"])
    ]
    return [
        *_indented((name, _shown(str(value))) for name, value in facts),
        *(f"  {line}" for line in _indented(classes, right=(0,))),
    ]


def _standard_lines(metadata: dict) -> list[str]:
    """The metadata of a file that was made by another program."""
    rows = [(name, _shown(value)) for name, value in metadata.items() if isinstance(value, str)]
    for title in ("inputs", "outputs"):
        for tensor in metadata.get(title, ()):
            facts = [tensor.get("name"), tensor.get("description"), tensor.get("content")]
            facts += [
                f"{key} {tensor[key]}" for key in ("mean", "std", "min", "max") if key in tensor
            ]
            facts += [f"{file['type']} in {file['name']}" for file in tensor.get("files", ())]
            rows.append((title[:-1], _shown("; ".join(filter(None, facts)), longest=200)))
    return _indented(rows)


def _operator_row(operator: dict, num_subgraphs: int) -> tuple:
    place = f"{operator['subgraph']}:" if num_subgraphs > 1 else ""
    outputs = operator["outputs"]
    return (
        f"{place}{operator['index']}",
        _shown(operator["name"]),
        operator["version"],
        " ".join(_shape(output["shape"]) for output in outputs),
        " ".join(dict.fromkeys(output["dtype"] for output in outputs)),
        "" if operator["fused_activation"] == "NONE" else operator["fused_activation"],
        f"{operator['macs']:,}" if operator["macs"] else "",
    )


def _indented(rows, right: tuple[int, ...] = ()) -> list[str]:
    return table(rows, right, indent="  ")


def _shape(sides: list[int]) -> str:
    return "x".join("?" if side < 0 else str(side) for side in sides) or "scalar"


def _shown(text: str, longest: int = 100) -> str:
    """`text` of a file as a line of a terminal."""
    return printable(short(text, longest))
