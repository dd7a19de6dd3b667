"""`keras-bisenet web`."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import MODEL
from keras_bisenet.pretrained import pretrained_model


@click.command("web")
@click.argument("model", required=False, type=MODEL)
@click.option(
    "-o", "--output", required=True, type=click.Path(), help="The folder to write the page to."
)
@click.option(
    "--runtime",
    metavar="DIR|URL",
    help="LiteRT.js: npm's node_modules/@litertjs, or a web address that holds the same files.  "
    "[default: the one that came with this package]",
)
def command(model, output, runtime):
    """Write a static page that runs MODEL in the browser (LiteRT.js, WebAssembly).

    MODEL is a .tflite file for segmentation; without one, the packaged model for street scenes.
    The folder needs no server but one for files: send it to a colleague, or put it on any static
    host. Pictures stay in the browser. Its self-test replays the model's golden inputs.
    """
    from keras_bisenet.web.site import write_site

    size = write_site(model or pretrained_model(), output, runtime)
    shown = click.format_filename(output)
    click.echo(f"{shown}: {size / 1e6:.1f} MB")
    click.echo(f"see it: python -m http.server -d {shown}, then http://localhost:8000")
