"""`keras-bisenet demo`, all of it, shortened."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("tensorflow", reason="the demo trains: it needs the training half")

from keras_bisenet.cli import main  # noqa: E402


def test_demo_refuses_a_folder_with_something_in_it(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "something is here already" in result.output
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.slow
def test_demo_ends_with_a_report_and_a_picture(tmp_path):
    out = tmp_path / "demo"
    result = CliRunner().invoke(main, ["demo", "--out", str(out), "--quick"])
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert set(report["miou"]) == set(report["latency_ms"]) == {"float", "ptq", "qat"}
    assert all(0 < miou < 1 for miou in report["miou"].values())
    assert report["agreement"] > 0.97
    with Image.open(out / "report.png") as picture:
        assert picture.width > 1000
