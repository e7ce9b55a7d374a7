"""Jobs for the decisions of a person: approve held inputs, repair rows that are kept out, remove inputs from a hub.

Grain: one source a run. A job does what the command of `dataops` with this purpose does, and reports the same events.
Launched as the launchpad shows it, a job changes nothing: it lists what there is to choose, each choice with a link to
a launchpad that is filled in with it.

Annotations are not postponed in this module: Dagster reads those of an op's function.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dataops_assets.components import by_hand
from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.events import failure_of
from dataops_assets.components.launchpad import as_yaml, launchpad
from dataops_assets.components.platform import Platform
from dataops_assets.components.status import source_status
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.approvals import approve
from dataops_assets.steps.upkeep.quarantine import KeptOut, kept_out, repair, still_kept_out
from dataops_assets.storage.corrections import Values

ALL = "*"
"""The value of `source` that stands for all sources, when a job lists what there is to choose."""

APPROVE = "approve_inputs"
REPAIR = "repair_rows"
REMOVE = "remove_inputs"
_LISTED = 20
_Shown = Mapping[str, str]


@dataclass(frozen=True)
class _Act:
    """A job for a decision of a person: what there is to choose, and what is done with the choice.

    * `name`: of the job. `op`: of its only op; Dagster wants another name.
    * `chosen`: the field of the configuration that has the choice.
    * `choices`: returns what there is to choose in one source, each with a text to show and its configuration.
    * `do`: does it and returns metadata to show.
    """

    name: str
    op: str
    description: str
    chosen: str
    field: dg.Field
    choices: Callable[[SourceContext], Iterable[tuple[_Shown, Sequence[Any]]]]
    do: Callable[[dg.OpExecutionContext, SourceContext, Sequence[Any], str], dict[str, Any]]


def person_jobs(sources: Mapping[str, Source]) -> list[dg.JobDefinition]:
    """Return the jobs for these sources of the code location; none if there are no sources."""
    return [_job(act, sources) for act in _ACTS] if sources else []


def _job(act: _Act, sources: Mapping[str, Source]) -> dg.JobDefinition:
    names = dg.Enum(
        f"source_of_{act.name}",
        [
            dg.EnumValue(ALL, description="All sources: only to list what there is to choose."),
            *(dg.EnumValue(name, description=source.description or None) for name, source in sorted(sources.items())),
        ],
    )
    schema = {
        "source": dg.Field(names, default_value=ALL, description="The source to work on."),
        act.chosen: act.field,
        "by": dg.Field(
            str, default_value="", description="Name of the person who decides; it is recorded. Default: the run's id."
        ),
    }

    @dg.op(
        name=act.op,
        description=act.description,
        config_schema=schema,
        required_resource_keys={PLATFORM},
        out=dg.Out(dg.Nothing),
    )
    def decide(context: dg.OpExecutionContext) -> None:
        context.add_output_metadata(_told(act, sources, context))

    @dg.job(
        name=act.name,
        description=act.description,
        config={"ops": {act.op: {"config": {"source": ALL, act.chosen: [], "by": ""}}}},
    )
    def job() -> None:
        decide()

    return job


def _told(act: _Act, sources: Mapping[str, Source], context: dg.OpExecutionContext) -> dict[str, Any]:
    """Do what the configuration says, or list what there is to choose. Raises Failure."""
    given = context.op_config
    platform: Platform = getattr(context.resources, PLATFORM)
    names = sorted(sources) if given["source"] == ALL else [given["source"]]
    contexts = [platform.source_context(sources[name], sources) for name in names]
    try:
        if not given[act.chosen]:
            return _to_choose(act, context, contexts)
        if given["source"] == ALL:
            raise InputError(
                f"the job {act.name}",
                received=f"{act.chosen} of source {ALL!r}; nothing was changed",
                known=names,
                next_step="name the source that they belong to",
            )
        return act.do(context, contexts[0], given[act.chosen], given["by"] or f"run {context.run_id}")
    except DataOpsError as error:
        raise failure_of(error) from error


def _to_choose(act: _Act, context: dg.OpExecutionContext, contexts: Sequence[SourceContext]) -> dict[str, Any]:
    lines = []
    for each in contexts:
        for shown, chosen in act.choices(each):
            filled = {"source": each.source.name, act.chosen: list(chosen), "by": ""}
            text = ", ".join(f"{name} {value}" for name, value in {"source": each.source.name, **shown}.items())
            context.log.info(f"{text}\n{as_yaml(act.op, filled)}")
            lines.append(f"* {text}: [fill in the launchpad]({launchpad(context.run, act.name, act.op, filled)})")
    if not lines:
        context.log.info("there is nothing to choose")
    return {"to choose": dg.MetadataValue.md("\n".join(lines) or "There is nothing to choose.")}


# --- approve ---------------------------------------------------------------------------------------------------------


def _held(context: SourceContext) -> Iterator[tuple[_Shown, Sequence[Any]]]:
    for item in source_status(context).inputs:
        if item.state == "held":
            yield {"input": item.input, "file": item.origin, "held because": item.message}, [item.input]


def _approve(_: dg.OpExecutionContext, context: SourceContext, chosen: Sequence[str], by: str) -> dict[str, Any]:
    approved = approve(context, chosen, f"{APPROVE} by {by}")
    return {"approved": approved, "next": f"the sensor of {context.source.name} takes them at its next look"}


# --- repair ----------------------------------------------------------------------------------------------------------


def _rows_kept_out(context: SourceContext) -> Iterator[tuple[_Shown, Sequence[Any]]]:
    by_row: dict[tuple[str, int], list[KeptOut]] = {}
    for item in kept_out(context, limit=_LISTED).rows:
        by_row.setdefault((item.input_id, item.row_id), []).append(item)
    for (input_id, row), items in by_row.items():
        values = {item.column: item.value for item in items if item.column is not None}
        line = items[0].line
        shown = {
            "input": input_id,
            "row": str(row),
            "file": items[0].origin + ("" if line is None else f", line {line}"),
            "kept out by": " and ".join(dict.fromkeys(item.rule for item in items)),
        }
        yield shown, [{"input": input_id, "row": row, "set": values}]


def _repair(
    context: dg.OpExecutionContext, source_context: SourceContext, chosen: Sequence[Mapping[str, Any]], by: str
) -> dict[str, Any]:
    rows = _corrections(chosen)
    inputs = repair(source_context, rows, made_by=by, made_at=dt.datetime.now(dt.UTC))
    context.log.info(f"recorded: {len(rows):,} rows of {len(inputs):,} inputs, by {by}")
    done = by_hand.run_steps(source_context, inputs, "parse", context.run_id, context.log.info, context.instance)
    wrong = [f"input {input_id}: {error}" for input_id, error in done.errors.items()]
    wrong += [
        f"still kept out: row {row} of input {input_id}" for input_id, row in still_kept_out(source_context, rows)
    ]
    if wrong:
        raise dg.Failure(
            description="the corrections are recorded, but\n" + "\n".join(wrong[:_LISTED]), allow_retries=False
        )
    return {"repaired rows": len(rows), "inputs": [item.input_id for item in inputs]}


def _corrections(chosen: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Values | None]:
    """Return the corrections by input and row. Raises InputError for a row without exactly one correction."""
    rows: dict[tuple[str, int], Values | None] = {}
    for item in chosen:
        place = (item["input"], item["row"])
        if place in rows or bool(item["set"]) == item["withdraw"]:
            raise InputError(
                f"the job {REPAIR}",
                received=f"row {place[1]} of input {place[0]}: "
                + ("given twice" if place in rows else "no correction, or one that is withdrawn at the same time"),
                next_step="give each row once, with 'set' or with 'withdraw: true'; nothing was recorded",
            )
        rows[place] = None if item["withdraw"] else item["set"]
    return rows


# --- remove ----------------------------------------------------------------------------------------------------------


def _in_hub(context: SourceContext) -> Iterator[tuple[_Shown, Sequence[Any]]]:
    hub = context.hub.snapshot()
    newest = sorted(HubManifest.read(hub.info if hub else None).inputs.values())[-_LISTED:]
    for item in context.metadata.inputs(context.source.name, [item.input_id for item in newest]):
        yield {"input": item.input_id, "file": item.origin}, [item.input_id]


def _remove(
    context: dg.OpExecutionContext, source_context: SourceContext, chosen: Sequence[str], _: str
) -> dict[str, Any]:
    report = by_hand.remove(source_context, chosen, context.instance)
    if report.failures:
        wrong = "\n".join(f"input {item.input_id}: {item.error}" for item in report.failures[:_LISTED])
        raise dg.Failure(description=f"the inputs are removed, but\n{wrong}", allow_retries=False)
    return {"removed": list(dict.fromkeys(chosen)), "rows in the hub": report.rows, "table version": report.version}


# a dict is a shape: the class takes untyped arguments
_ROW = {
    "input": dg.Field(str, description="The input's id."),
    "row": dg.Field(int, description="Position of the row in the input, from 0."),
    "set": dg.Field(
        {str: dg.Noneable(str)},
        default_value={},
        description="New value of each column to correct, as text: quote numbers. null is null.",
    ),
    "withdraw": dg.Field(bool, default_value=False, description="Withdraw the earlier corrections of the row."),
}

_ACTS = (
    _Act(
        APPROVE,
        "approve",
        "Approves inputs that are held for their deletions or an anomaly, like `dataops approve`. Without inputs it "
        "lists those that are held, and changes nothing.",
        "inputs",
        dg.Field([str], default_value=[], description="Ids of held inputs. Empty: list what is held."),
        _held,
        _approve,
    ),
    _Act(
        REPAIR,
        "repair",
        "Corrects rows that are kept out of a hub, and runs the steps of their inputs again, like `dataops quarantine "
        "repair`. Without rows it lists those that are kept out, and changes nothing.",
        "rows",
        dg.Field([_ROW], default_value=[], description="Rows to correct. Empty: list what is kept out."),
        _rows_kept_out,
        _repair,
    ),
    _Act(
        REMOVE,
        "remove",
        "Removes inputs from a hub, as if they had never arrived, like `dataops remove`. Without inputs it lists the "
        "newest ones of the hub, and changes nothing.",
        "inputs",
        dg.Field([str], default_value=[], description="Ids of inputs to remove. Empty: list the newest inputs."),
        _in_hub,
        _remove,
    ),
)
