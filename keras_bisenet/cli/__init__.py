"""The `keras-bisenet` command.

Each command lives in a module of its own, imported only when it is called, so that the
command line answers at once and the device half never loads TensorFlow.
"""

from __future__ import annotations

import errno
import importlib
import os

import click

from keras_bisenet.console import log_on_terminal, show_any_text
from keras_bisenet.errors import UserError
from keras_bisenet.version import __version__

# name -> (module in this package, one line for --help)
COMMANDS = {
    "train": ("train", "Train a model on images with pixel labels."),
    "import": ("import_", "Make a run of BiSeNet V2 weights from PyTorch."),
    "evaluate": ("evaluate", "Measure mIoU of a run, a .keras or a .tflite file over a split."),
    "report": ("report", "Write a run's curves, scores and pictures into one HTML page."),
    "quantize": ("quantize", "Quantize a trained run (QAT, or post-training)."),
    "convert": ("convert", "Convert a run to a .tflite file."),
    "check": ("check", "Check a .tflite file against its target and its trained model."),
    "run": ("run", "Segment images with a .tflite file and draw the result."),
    "web": ("web", "Write a page that runs a .tflite file in the browser."),
    "live": ("live", "Show a camera and the answer over it on a page, as they come."),
    "bench": ("bench", "Measure latency of .tflite files on this machine."),
    "inspect": ("inspect", "Show what is inside a .tflite file."),
    "dataset": ("dataset", "Generate, import, divide, check or pack a data set."),
    "demo": ("demo", "Run the whole pipeline on a generated street data set."),
}


class LazyGroup(click.Group):
    """Loads a command's module when the command is called, and turns errors into one line."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"keras_bisenet.cli.{COMMANDS[name][0]}")
        return module.command

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except UserError as error:
            raise _one_line(error) from error

    def format_commands(self, ctx, formatter):
        # The stock version would import every command for its first help line.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx):
        show_any_text()
        try:
            with log_on_terminal():
                return super().invoke(ctx)
        except UserError as error:
            raise _one_line(error) from error
        except Exception as error:
            reason = _system_reason(error)
            if reason is None:
                raise
            raise _one_line(UserError(reason)) from error


def _system_reason(error: Exception) -> str | None:
    """What the system refused and the cure, where that is what `error` is about."""
    where = f" ({error.filename})" if getattr(error, "filename", None) else ""
    # HDF5 and TensorFlow keep the system's words, but not its error number.
    if os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error):
        return f"no space left on the disk{where}: free some, and run the command again"
    if not isinstance(error, OSError) or error.errno not in _CURES:
        return None
    cure = _CURES[error.errno]
    if isinstance(error, PermissionError) and error.filename and not _is_readable(error.filename):
        cure = "see that you may read it"
    return f"{error.strerror}{where}: {cure}"


_CURES = {
    errno.EACCES: "choose a place you may write to",
    errno.EPERM: "choose a place you may write to",
    errno.EROFS: "choose a place you may write to",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "part of this path is a file, not a folder: choose another",
    errno.EEXIST: "something is here already: choose another name",
    errno.ENOENT: "there is no such file or folder: name one that is there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle: name the file itself",
    errno.ENOTEMPTY: "something is here already: choose another name",
    errno.ENXIO: "nothing reads from it: choose a file",
    errno.EFBIG: "this disk holds no larger file: choose another, or less for one file",
    errno.EIO: "the disk fails, or was taken out: choose another",
}
"""What the system refuses that a user can mend."""


def _is_readable(path) -> bool:
    """Whether what is there can be read; True where nothing is."""
    return not os.path.exists(path) or os.access(path, os.R_OK)


def _one_line(error: UserError) -> click.ClickException:
    """`error` as click prints it: one line, with the exit code it asks for."""
    shown = click.ClickException(" ".join(str(error).split()))
    shown.exit_code = error.exit_code
    return shown


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-bisenet")
def main():
    """Real-time semantic segmentation for small devices, from data set to .tflite.

    BiSeNet V2 in Keras: train, quantize, convert, check and run.
    """
