"""What reaches the terminal, by what arrives on the file descriptors."""

import logging
import os
import subprocess
import sys

import pytest

from keras_bisenet.console import log, log_on_terminal, quiet_stderr


def test_the_log_is_shown_inside_the_block_alone(capsys):
    log.info("not shown")
    with log_on_terminal(), log_on_terminal():
        log.info("epoch %d", 3)
        log.debug("not shown")
        log.getChild("training").warning("no such file")
    log.info("not shown")
    assert capsys.readouterr() == ("epoch 3\n", "Warning: no such file\n")
    assert not log.handlers and log.level == logging.NOTSET


def test_stderr_is_quiet_but_for_what_is_kept(capfd):
    with quiet_stderr():
        os.write(2, b"chatter\n")
    with quiet_stderr(keep=lambda line: line.startswith(b"ERROR")):
        os.write(2, b"INFO: chatter\nERROR: a reason\n")
    assert capfd.readouterr().err == "ERROR: a reason\n"


@pytest.mark.parametrize(("show", "shown"), [(True, "the reason\n"), (False, "")])
def test_an_error_shows_everything_where_that_is_asked(capfd, show, shown):
    with pytest.raises(ValueError), quiet_stderr(show_on_error=show):
        os.write(2, b"the reason\n")
        raise ValueError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == shown + "after\n"


def test_no_descriptor_leaks_and_a_closed_stderr_is_no_error():
    program = (
        "import os\n"
        "from keras_bisenet.console import quiet_stderr\n"
        "before = os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd') else []\n"
        "for _ in range(3):\n"
        "    with quiet_stderr(): os.write(2, b'x')\n"
        "after = os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd') else []\n"
        "os.close(2)\n"
        "with quiet_stderr(): pass\n"
        "print(before == after)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_endless_work_has_a_line_that_says_how_it_is_doing():
    """On a terminal; in a file it would be a line each second."""
    pty = pytest.importorskip("pty")
    program = (
        "import itertools, sys, time\n"
        "from keras_bisenet.progress import status_line\n"
        "frames = itertools.count(1)\n"
        "end = time.monotonic() + (30 if sys.stderr.isatty() else 0.4)\n"
        "with status_line(lambda: f'{next(frames)} frames', seconds=0.05):\n"
        "    while '(4' not in repr(frames) and time.monotonic() < end: time.sleep(0.01)\n"
    )
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=slave, check=True)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    os.close(slave)
    assert "\r\x1b[K1 frames\r\x1b[K2 frames" in shown and shown.endswith("\r\x1b[K")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
