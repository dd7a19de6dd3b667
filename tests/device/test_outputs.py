"""Where files are written: devices, pipes, links, names and encodings that systems have."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import click
import pytest
from click.testing import CliRunner

from keras_bisenet.cli import LazyGroup, main
from keras_bisenet.errors import UsageError
from keras_bisenet.files import check_output, check_output_folder, write_bytes, write_text
from keras_bisenet.progress import progress_bar


def test_the_file_that_a_link_points_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "a.json")
    write_bytes(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real" / "a.json").read_bytes() == b"new"
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "real" / "b.json")
    write_bytes(tmp_path / "nowhere.json", b"more")
    assert (tmp_path / "real" / "b.json").read_bytes() == b"more"
    assert sorted(os.listdir(tmp_path / "real")) == ["a.json", "b.json"]


def test_a_pipe_is_written_through(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(
        target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True
    )
    reader.start()
    write_bytes(tmp_path / "pipe", b"scores")
    reader.join()
    assert read == [b"scores"] and (tmp_path / "pipe").is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_written_through():
    before = os.stat("/dev/null")
    write_text("/dev/null", "scores")
    after = os.stat("/dev/null")
    assert (before.st_rdev, before.st_ino) == (after.st_rdev, after.st_ino)


def test_names_that_are_no_utf_8_are_shown(tmp_path):
    write_text(tmp_path / "a.html", os.fsdecode(b"\xd6\xd0.jpg") + " é")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "\\udcd6\\udcd0.jpg é"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "this is a folder: name a file in it"),
        ("file/a.json", "is a file, not a folder: choose another place"),
        ("a.txt", "choose a name that ends in .json"),
        ("b" * 300 + ".json", "choose another name"),
        ("new/" + "b" * 300 + ".json", "too long a name: choose a shorter one"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_work(tmp_path, path, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        check_output(tmp_path / path, "--json", (".json",))
    assert message in str(caught.value) and str(caught.value).startswith("--json ")
    check_output(tmp_path / "new" / "folder" / "a.json", "--json", (".json",))
    with pytest.raises(UsageError, match="this is no .tflite file: choose another name"):
        check_output(tmp_path / "m.tflite", "--json")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("full", "something is here already"), ("file", "something is here already"),
     ("file/a", "choose another"), ("b" * 300, "choose another folder")],
)  # fmt: skip
def test_folders_that_cannot_be_made_are_refused_before_work(tmp_path, path, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=message):
        check_output_folder(tmp_path / path, "-o")
    check_output_folder(tmp_path / "empty" / "a", "-o")


def test_no_folder_takes_the_place_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (".", tmp_path, f"../{tmp_path.name}"):
        with pytest.raises(UsageError, match="this is the working directory: name a folder in it"):
            check_output_folder(path, "-o", anew=True)
    check_output_folder(".", "--run")
    for command in (
        ("import", "--from", "labelme", "..", "-o", "."),
        ("pack", "--dataset", "folder", "--data-dir", "..", "-o", "."),
    ):
        result = CliRunner().invoke(main, ["dataset", *command])
        assert result.exit_code == 2 and "the working directory" in result.output, result.output
    assert os.listdir(tmp_path) == []


# === What the system refuses, in one line ===


@click.group(cls=LazyGroup)
def group():
    pass


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (lambda path: open(path), "Is a directory ({}): name a file, not a folder"),
        (lambda path: open(path / "f" / "a"), "Not a directory ({}/f/a): part of this path"),
        (
            lambda path: os.mkdir(path),
            "File exists ({}): something is here already: choose another",
        ),
        (lambda path: open(path / ("b" * 300)), "File name too long ({}/"),
        (lambda path: open(path / "none"), "No such file or directory ({}/none): there"),
        (
            lambda path: open(path / "loop"),
            "Too many levels of symbolic links ({}/loop)",
        ),
    ],
)
def test_system_errors_are_one_line(tmp_path, monkeypatch, action, line):
    (tmp_path / "f").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    command = click.Command("fail", callback=lambda: action(tmp_path))
    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: command)
    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: " + line.format(tmp_path))
    assert len(result.output.splitlines()) == 1


# === Encodings and closed streams ===


def started(program, *arguments, **options):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, **options)


PROGRAM = (
    "import sys, click\n"
    "from keras_bisenet.cli import LazyGroup, main\n"
    "show = lambda: click.echo('v\\xe9lo \\u4e2d \\udcd6')\n"
    "LazyGroup.get_command = lambda *_: click.Command('show', callback=show)\n"
    "main(['show'])\n"
)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("cp1252", b"v\xe9lo \\u4e2d \\udcd6"),
        ("latin-1", b"v\xe9lo \\u4e2d \\udcd6"),
        ("ascii", "vélo 中 ?".encode()),  # click does not believe it
        ("utf-8", "vélo 中 \\udcd6".encode()),
    ],
)
def test_a_terminal_that_lacks_characters_ends_no_work(encoding, shown):
    done = started(PROGRAM, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout.strip()) == (0, shown), done.stderr


def test_stderr_may_be_closed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar("work", 2) as bar:
        bar(1)
    assert main.name == "main"
