"""`keras-bisenet convert`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_bisenet.cli.options import SIZE, TARGET, load_tensorflow, training_half
from keras_bisenet.errors import UsageError
from keras_bisenet.files import check_output, write_bytes
from keras_bisenet.targets.target import PRECISIONS


@click.command("convert")
@click.argument("run_dir", metavar="RUN", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), help="The .tflite file to write.")
@click.option("--target", type=TARGET, help="What will run it.  [the run's]")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option("--size", type=SIZE, help="Height x width of the input.  [the run's]")
@click.option(
    "--io",
    type=click.Choice(["int8", "uint8"]),
    default="int8",
    show_default=True,
    help="Input and output of an int8 file. RUN may be such a file for this option alone.",
)
@click.option(
    "--golden/--no-golden",
    default=True,
    help="Also write inputs and the answers to them, for tools/check_tflite.py.  [default: golden]",
)
def command(run_dir, output, target, precision, size, io, golden):
    """Convert RUN to a .tflite file.

    An int8 file comes from a quantized run, and computes in integers from input to output.
    Beside model.tflite, model.golden.npz holds what it answers here: tools/check_tflite.py shows
    on any device that it answers the same there.
    """
    check_output(output, "-o", (".tflite",))
    if io != "int8" and precision != "int8":
        raise UsageError(f"--io {io}: for --precision int8 alone, not {precision}: leave it out")
    if Path(run_dir).is_file():
        if io != "uint8" or target or size or precision != "int8":
            raise UsageError(
                f"{run_dir} is converted already: give it --io uint8 alone, or name the run that "
                "it was made of"
            )
        content, arrays = _with_uint8_io(run_dir)
    else:
        content, arrays = _converted(run_dir, target, precision, size, io), None
    from keras_bisenet.runtime.golden import write_with_golden

    shown = f"{output}: {precision}, {len(content) / 2**20:.2f} MiB"
    if golden:
        shown += f"; golden answers: {write_with_golden(output, content, arrays)}"
    else:
        write_bytes(output, content)
    click.echo(shown)
    if Path(output).suffix != ".tflite":
        click.echo(f"note: other programs expect the name to end in .tflite, not {output}")


def _converted(run_dir, target, precision, size, io) -> bytes:
    with training_half():
        from keras_bisenet.training.run import Run

        run = Run.open(run_dir)
        load_tensorflow()
        from keras_bisenet.export.convert import convert
    return convert(run, target=target, precision=precision, size=size, io=io)


def _with_uint8_io(path) -> tuple[bytes, dict | None]:
    """A converted file with uint8 input and output, and its golden arrays where it has some."""
    from keras_bisenet.lite.model_file import read_model_file
    from keras_bisenet.lite.uint8_io import with_uint8_io
    from keras_bisenet.runtime.golden import golden_with_uint8_io, read_golden

    file = read_model_file(path)
    content = with_uint8_io(file)
    golden = read_golden(path, file.data)
    return content, golden and golden_with_uint8_io(golden, content)
