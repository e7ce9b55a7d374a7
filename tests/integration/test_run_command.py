"""`dataops run` as cron starts it: in a fresh home, from any folder, without `make` and without variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataops_assets.operations.cli import main


def dataops(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "dataops"
    variables = {"DATAOPS_HOME": str(home)}
    return subprocess.run([program, *words], cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_run_makes_its_instance_does_what_is_due_and_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    landing = home / "landing" / "flights" / "airlines"
    landing.mkdir(parents=True)
    (landing / "airlines_2013-01-01.csv").write_text("carrier,name\nAA,American Airlines Inc.\n")
    (landing / "airlines_2013-02-01.csv").write_bytes(b"")
    for file in landing.iterdir():
        # long ago, so that nobody is writing it any more
        os.utime(file, (1, 1))
    first = dataops(tmp_path, home, "run", "airlines", "--json")
    assert first.returncode == 1, first.stdout + first.stderr
    assert (home / "dagster" / "dagster.yaml").is_file()
    data = json.loads(first.stdout)
    assert (data["runs"][0]["source"], data["runs"][0]["succeeded"]) == ("airlines", False)
    assert "warehouse/dim_airlines" in [run["what"] for run in data["runs"]], "what follows is made"
    assert (data["is_well"], data["failed_runs"], data["refused"]) == (False, [], [])
    assert "stopped in" in first.stderr, "progress goes to the error stream"

    done = dataops(tmp_path, home, "run", "airlines")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert "nothing was due" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("airlines  ")]
    assert line.split()[1:7] == ["1", "0", "1", "0", "0", "0"]
    assert "failed  input 2013-02-01" in done.stdout
    incidents = json.loads(dataops(tmp_path, home, "incidents", "list", "--json").stdout)["incidents"]
    assert [(row["state"], row["asset"], len(row["inputs"])) for row in incidents] == [("open", "raw/airlines", 1)]
    assert "next: deliver the file again with its content" in done.stdout

    monkeypatch.setenv("DATAOPS_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    assert main(["status", "--json"]) == 1
    found = {status["source"]: status for status in json.loads(capsys.readouterr().out)}
    assert found["airlines"]["inputs"][0]["origin"] == str(landing / "airlines_2013-02-01.csv")
    assert not found["planes"]["needs_attention"]
    assert main(["status", "planes"]) == 0
    for words in (["run", "airline"], ["status", "airline"]):
        assert main(words) == 2
        assert "did you mean 'airlines'?" in capsys.readouterr().err


def test_what_is_unknown_is_not_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path / "home"))
    assert main(["approve", "airlines", "nothing"]) == 2
    assert "'dataops status airlines' shows what is held" in capsys.readouterr().err
