"""The live page for ten seconds, or a minute, with clients that come and go: short
forms of `tools/bench_live.py --only soak --soak 3600`."""

import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_a_live_page_does_not_grow(tmp_path, standin, monkeypatch, seconds):
    pytest.importorskip("av")
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "tools"), *sys.path])
    from bench_live import Bench

    csv = tmp_path / "soak.csv"
    found = Bench(tmp_path, "colours").soak((360, 480), seconds, csv)
    header, *lines = csv.read_text().splitlines()
    assert header == "seconds,mb,cpu,descriptors,threads,answers" and len(lines) >= 8
    # Where others use the machine too, it answers less often; but it answers to the end.
    answers = [int(line.rpartition(",")[2]) for line in lines]
    assert all(later > earlier for earlier, later in zip(answers, answers[1:]))
    for name, most in (("mb", 10), ("descriptors", 1), ("threads", 2)):
        _, second, _, last = found[name]
        assert last - second <= most, (name, found[name])
    assert found["most_mb"] < 160 and found["most_descriptors"] < 20 and found["most_threads"] < 30
