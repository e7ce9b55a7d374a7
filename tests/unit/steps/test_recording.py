"""A step logs one line for each input, with the ids by which a log is searched, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from declared import unchecked_source
from rule_steps import an_input, context

from dataops_assets.errors import InputError, StorageError
from dataops_assets.report import Input, InputReport, StepReport
from dataops_assets.steps.recording import Step, run_recorded
from dataops_assets.steps.source_context import SourceContext

SALES = unchecked_source("sales", {"Store": "integer"})


def recorded(home: Path, *results: InputReport | Exception, rows: int | None = None) -> list[Input]:
    """Run a step that reports these results, one for each input."""
    space = context(home, SALES)
    space.metadata.contracts.register(SALES)
    inputs = [an_input(f"input{place}", place) for place in range(len(results))]
    space.metadata.register_inputs("sales", inputs)
    ingested = tuple(InputReport(item.input_id) for item in inputs)
    if ingested:
        space.metadata.finish("sales", StepReport("ingest", "raw/sales", ingested, None, None, {}, 0.0), "run-1")

    def step(_: SourceContext, __: Sequence[Input]) -> StepReport:
        for result in results:
            if isinstance(result, Exception):
                raise result
        done = tuple(result for result in results if isinstance(result, InputReport))
        return StepReport("parse", "lake/sales", done, rows, 0, {}, 0.1)

    run_recorded(space, Step("parse", "lake/sales", step), inputs, [item.input_id for item in inputs] or [""], "run-7")
    return inputs


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="dataops_assets")
    return caplog


def test_each_input_has_a_line_with_its_id_and_run(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    wrong = InputError("reading b.csv", received="no header row\nat all")
    recorded(tmp_path, InputReport("input0", {"rows": 3, "rejected": 1}), InputReport("input1", error=wrong))
    assert lines.record_tuples == [
        (
            "dataops_assets.steps.recording",
            logging.INFO,
            "parse lake/sales: input input0 done in run run-7: rows 3, rejected 1",
        ),
        (
            "dataops_assets.steps.recording",
            logging.WARNING,
            "parse lake/sales: input input1 failed in run run-7: InputError: "
            "reading b.csv; received: no header row at all",
        ),
    ]


def test_a_step_that_breaks_off_has_a_line_for_each_input(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StorageError):
        recorded(tmp_path, InputReport("input0"), StorageError("writing the lake", received="a full disk"))
    assert [(record.levelname, record.getMessage()) for record in lines.records] == [
        (
            "WARNING",
            f"parse lake/sales: input input{place} failed in run run-7: StorageError: "
            "writing the lake; received: a full disk",
        )
        for place in (0, 1)
    ]


def test_a_step_about_the_whole_table_has_one_line(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    recorded(tmp_path, rows=12)
    assert lines.messages == ["parse lake/sales: the whole table done in run run-7: rows 12"]


def test_the_package_prints_nothing_unless_the_application_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # without any handler, Python prints warnings to stderr; pytest has handlers of its own
    with mock.patch.object(logging.getLogger(), "handlers", []):
        logging.getLogger("another").warning("this is printed")
        recorded(tmp_path, InputReport("input0", error=InputError("reading a.csv")))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "this is printed\n")
