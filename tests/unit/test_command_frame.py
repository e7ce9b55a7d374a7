"""What all commands have in common: answers for people and programs, exit codes, signals, quick help and completion."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import command_reference
import pytest
from command_reference import commands, own_words, parts
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dataops_assets.config.environment import environment_from
from dataops_assets.errors import ConfigError
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations import cli, project
from dataops_assets.operations.answer import Answer, Column, Item, Raw, Shown, Table
from dataops_assets.operations.command import AnswerCommand, Commands
from dataops_assets.operations.commands import words
from dataops_assets.operations.output import Output, output
from dataops_assets.report import PER_INPUT, Input

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = {"dagster", "dbt", "duckdb", "deltalake", "numpy", "pandas", "pyarrow", "pyspark"}
INPUT = "2024-01-02_3f779a"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(work: Callable[[], Answer], *given_words: str) -> tuple[int, str, str]:
    """A command that does `work`: its exit code, standard output and error stream."""
    app = Commands()
    app.command("work")(work)
    done = CliRunner().invoke(app, list(given_words), prog_name="dataops work")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


# --- exit codes and streams ------------------------------------------------------------------------------------------


def well() -> Answer:
    output().begin("looking")
    sys.stdout.write("a library prints this\n")
    output().say("looked")
    return Answer({"a": [1, "ä"]}, ["a is 1"], ["by the way"])


def test_a_person_reads_the_answer_and_what_was_done() -> None:
    code, out, err = ended(well)
    assert (code, err) == (0, "by the way\n")
    assert out == "  looking ...\na library prints this\nlooked\na is 1\n"


def test_a_program_reads_one_document_and_nothing_else() -> None:
    code, out, err = ended(well, "--json")
    assert (code, json.loads(out)) == (0, {"a": [1, "ä"]})
    assert err == "  looking ...\na library prints this\nlooked\nby the way\n"


@pytest.mark.parametrize("as_data", [[], ["--json"]])
def test_what_is_found_ends_with_1(as_data: list[str]) -> None:
    assert ended(lambda: Answer([], found=True), *as_data)[0] == 1


@pytest.mark.parametrize("as_data", [[], ["--json"]])
def test_what_could_not_run_ends_with_2_and_says_why_on_the_error_stream(as_data: list[str]) -> None:
    def refused() -> Answer:
        raise ConfigError("greeting", received="nobody", next_step="name one")

    assert ended(refused, *as_data) == (2, "", "dataops work: greeting; received: nobody; next: name one\n")
    code, out, err = ended(well, "--nothing")
    assert (code, out) == (2, "")
    assert "No such option" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_130(number: signal.Signals) -> None:
    def killed() -> Answer:
        os.kill(os.getpid(), number)
        output().begin("the next piece of work")
        raise AssertionError("it went on")

    before = signal.getsignal(number)
    code, out, err = ended(killed)
    assert (code, out) == (130, "")
    assert "interrupted; the next one goes on from here" in err
    assert signal.getsignal(number) is before


def test_an_error_that_nobody_expected_ends_with_2() -> None:
    script = (
        "import sys; from dataops_assets.operations import cli, project\n"
        "def fails(*_): raise RuntimeError('a fault')\n"
        "project.contexts = fails; sys.argv = ['dataops', 'vacuum']; cli.program()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.rstrip().endswith("RuntimeError: a fault")


@pytest.mark.parametrize("words", [["vacuum", "--json"], ["status"]])
def test_a_reader_that_wants_no_more_is_no_error(words: list[str]) -> None:
    script = (
        f"words = {words}\n"
        "import sys; from dataops_assets.operations import cli, project\n"
        "project.contexts = lambda *_: []; sys.argv = ['dataops', *words]; cli.program()"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=600
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# --- plain text, and a terminal --------------------------------------------------------------------------------------


def plain(*shown: Shown) -> str:
    out = io.StringIO()
    Output(out, io.StringIO()).answer(Answer(None, shown))
    return out.getvalue()


def on_terminal(*shown: Shown, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    out = Terminal()
    Output(out, io.StringIO()).answer(Answer(None, shown))
    return out.getvalue()


TABLE = Table(
    (Column("source"), Column("failed", number=True), Column("next")),
    [["orders", "12", f"dataops approve orders {INPUT} {INPUT} {INPUT}"], ["a_long_name", "0", "nothing"]],
)


def test_plain_tables_are_aligned_and_never_broken() -> None:
    assert plain(TABLE).splitlines() == [
        "source       failed  next",
        f"orders           12  dataops approve orders {INPUT} {INPUT} {INPUT}",
        "a_long_name       0  nothing",
    ]
    assert plain(Item("held", "input 1", ["next: wait"])) == "held  input 1\n  next: wait\n"
    prose = Table((Column("place"), Column("problem"), Column("next")), [["a", "is gone", "find it"]], is_prose=True)
    assert plain(prose) == "a: is gone\n  next: find it\n"


def test_a_terminal_shows_frames_and_colours_and_no_markup_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(TABLE, Item("failed", "[bold]input[/bold] 1"), monkeypatch=monkeypatch, columns=200)
    assert "\x1b[" in shown
    assert "─" in shown
    without = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "failed  [bold]input[/bold] 1" in without
    assert f"dataops approve orders {INPUT} {INPUT} {INPUT}" in without


def test_a_narrow_terminal_breaks_no_id_and_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(TABLE, monkeypatch=monkeypatch, columns=50))
    assert shown == plain(TABLE)


def test_a_terminal_shows_what_is_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Output(out, io.StringIO()).current() as made:
        made.begin("first")
        made.begin("second")
        made.say("first is done")
    assert "first is done" in out.getvalue()
    assert "  second ...\n" not in out.getvalue()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=4))
def test_no_value_moves_the_cursor_or_breaks_a_row(rows: list[tuple[str, str, str]]) -> None:
    table = Table((Column("a"), Column("b", number=True), Column("c")), rows)
    text = plain(table, *(Item("failed", what, [line]) for what, line, _ in rows))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert len(plain(table).split("\n")) == len(rows) + 2


def test_what_is_meant_for_a_file_is_written_as_it_is() -> None:
    assert plain(Raw("a,b\r\n1,\x1b2")) == "a,b\r\n1,\x1b2\n"


# --- all commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_json_help_exit_codes_and_an_example_that_works(
    path: str, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(command, AnswerCommand)
    assert "--json" in {name for param in command.params for name in param.opts}
    arguments, options = own_words(command)
    assert all(param.help and param.metavar for param in arguments)
    assert all(param.help for param in options)
    codes, example = parts(command)
    assert codes.startswith("0 all is well; ")
    program, *rest = shlex.split(example)
    assert example.startswith(path)
    monkeypatch.setattr(AnswerCommand, "invoke", lambda _command, _context: None)
    assert cli.main(rest) == 0
    assert program == "dataops"


def test_the_page_lists_every_command_as_it_is() -> None:
    """If it fails, run `python tests/unit/command_reference.py`, which writes the page."""
    assert command_reference.page() == command_reference.PAGE.read_text(encoding="utf-8")
    assert len(list(commands())) > 10


def test_the_steps_are_those_of_the_platform() -> None:
    assert get_args(get_args(words.Step)[0]) == PER_INPUT


# --- quick help and completion ---------------------------------------------------------------------------------------

LOADED = (
    "import json, sys\nfrom dataops_assets.operations.cli import main\ncode = main({words})\n"
    "print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})), file=sys.stderr)\nsys.exit(code)"
)


def in_a_process(arguments: list[str], variables: dict[str, str]) -> tuple[str, set[str]]:
    """What a command prints, and the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(words=arguments)],
        cwd=PROJECT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_neither_an_engine_nor_the_declarations() -> None:
    out, loaded = in_a_process(["--help"], {})
    assert "approve" in out
    assert "\x1b" not in out
    assert not loaded & {*HEAVY, "pydantic", "sqlalchemy", "sqlglot"}


def completion(line: str) -> dict[str, str]:
    """The variables by which bash asks for the completion of a line."""
    given_words = line.split(" ")
    return {
        "_DATAOPS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(given_words) - 1),
    }


def test_completion_of_sources_and_inputs_imports_no_engine(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    variables = {"DATAOPS_HOME": str(tmp_path), "DATAOPS_ENV": "local", **completion("dataops remove flights 2")}
    out, loaded = in_a_process([], variables)
    assert out.split() == store
    assert not loaded & HEAVY


def prepared(home: Path) -> list[str]:
    """Register two inputs of `flights` in a home, and return their ids, the newest first."""
    environment = environment_from({"DATAOPS_HOME": str(home)}, home)
    store = MetadataStore(environment.metadata_url)
    store.migrate()
    source = project.declared()["flights"]
    store.contracts.register(source)
    days = [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (1, 2)]
    store.register_inputs("flights", [Input(day, day, f"{day:%Y%m%d}", f"{day}", "a.csv", 1, f"{day}") for day in days])
    return sorted(store.input_ids("flights"), reverse=True)


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    for name, value in completion(line).items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert cli.main([]) == 0
    return capsys.readouterr().out.split()


def test_names_steps_ids_and_columns_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("DATAOPS_METADATA_URL", raising=False)

    def ask(line: str) -> list[str]:
        return completed(line, monkeypatch, capsys)

    assert {"flights", "sales"} <= set(ask("dataops run "))
    assert ask("dataops run fl") == ["flights"]
    assert ask("dataops run flights air") == ["airlines", "airports"]
    assert ask("dataops reset flights ") == list(PER_INPUT)
    assert ask("dataops lineage sales.Sales_Lag_1") == ["sales.Sales_Lag_1", "sales.Sales_Lag_14"]
    assert ask("dataops quaran") == ["quarantine"]
    assert ask("dataops remove flights ") == []
    assert not (tmp_path / "nothing").exists(), "completion makes nothing"
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    newest, oldest = prepared(tmp_path)
    assert ask("dataops remove flights ") == [newest, oldest]
    assert ask(f"dataops remove flights {newest} ") == [oldest]
    assert ask("dataops quarantine list flights --input ") == [newest, oldest]
    assert ask("dataops approve flights ") == []
    MetadataStore(f"sqlite:///{tmp_path}/metadata.db").decisions.hold("flights", [Hold(oldest, "too much", "")])
    assert ask("dataops approve flights ") == [oldest]


def test_a_project_that_cannot_be_read_completes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "defs.yaml").write_text("{")
    monkeypatch.setattr(project, "DEFS", tmp_path)
    monkeypatch.setenv("DATAOPS_ENV", "nowhere")
    assert completed("dataops status ", monkeypatch, capsys) == []
    assert completed("dataops remove flights ", monkeypatch, capsys) == []
