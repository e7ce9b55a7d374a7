"""Step 2, parse: convert the bytes of inputs to typed rows in the lake, and put rejected rows into quarantine.

Grain: `lake/<source>` has one row for each record that was parsed, `lake/<source>_quarantine` one row for each rejected
record. `s_row_id` is the 0-based position of the record in its input. It counts both kinds of records, so it does not
depend on which of them can be parsed. Corrections (`steps/parsing/corrections.py`) replace values of the bytes.

Re-run: the new rows of an input replace its earlier rows. The quarantine is published before the lake. So for each
input in the lake, its rejected rows are already in the quarantine. An input that cannot be read, lacks columns or fails
a gate publishes nothing, and the others are published.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError
from dataops_assets.quality.gates import blocked, stopped
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.steps.evolved_columns import evolved, undeclared_names, with_undeclared
from dataops_assets.steps.merging.settled_inputs import settled_of, unless_settled
from dataops_assets.steps.parsing.accounting import row_counts, unaccounted
from dataops_assets.steps.parsing.changed_types import changed_types, values_left_out
from dataops_assets.steps.parsing.corrections import Corrected, corrections_for
from dataops_assets.steps.parsing.drift import added_to_contract
from dataops_assets.steps.parsing.input_checks import check_profiles, lake_gate, profile_lake
from dataops_assets.steps.parsing.quarantined_rows import quarantined, rejected_by_reason, rejected_dates
from dataops_assets.steps.parsing.raw_inputs import RawInputs, read_inputs
from dataops_assets.steps.parsing.typed_rows import TypedRows, type_rows
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.storage.publish import files_of, replace_inputs, written_as


@dataclass(frozen=True)
class _Judged:
    """The result of the checks of inputs before they are published.

    * `errors`: the inputs that may not be published, with the reason.
    * `counts`: the rows of the inputs that were read, by kind.
    * `left_out`: the number of values that were left out, by input and column.
    * `gate`: the outcome of the lake's gate.
    """

    errors: Mapping[str, DataOpsError]
    counts: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, Mapping[str, int]]
    gate: Mapping[str, CheckOutcome]

    def accepted(self, inputs: Sequence[Input]) -> list[Input]:
        """Return the inputs that may be published, in order."""
        return [item for item in sorted(inputs) if item.input_id not in self.errors]


def parse(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Parse `inputs` into the lake; counts are rows, rejected, and filtered where the source filters rows.

    An input's error is InputError (its bytes or columns are not what is declared, or it is settled), GateFailed, or
    StorageError (its bytes are not in the raw area). Raises ConfigError for a declaration that cannot be carried out,
    StorageError where the tables cannot be written.
    """
    started = time.perf_counter()
    lake = version_of(context, context.lake, "parse", [item.input_id for item in inputs])
    settled = settled_of(context.source, lake, inputs)
    wanted = [item for item in inputs if item.input_id not in settled]
    with context.engine.session() as session, read_inputs(context, session, wanted) as raw:
        context = replace(context, source=_evolved(context, raw))
        corrected = corrections_for(context, session, list(raw.headers))
        typed = type_rows(session, context.source, raw, corrected)
        judged = _judge(session, typed, inputs, settled)
        asset, ids = _asset(context.source), [item.input_id for item in judged.accepted(inputs)]
        rejecting = [key for key in ids if judged.counts[key]["rejected"]]
        advice = rejected_dates(session, typed, rejecting)
        profiles = profile_lake(session, typed, asset, {key: judged.counts[key]["rows"] for key in ids})
        # before anything is published: what a strict check stops replaces no earlier rows of its input
        checks = check_profiles(context, typed, profiles, judged.left_out, advice)
        judged = replace(judged, errors={**judged.errors, **stopped(asset, checks)})
        good = judged.accepted(inputs)
        if good:
            _publish(context, session, typed, good, judged.counts)
        ids = [item.input_id for item in good]
        rejected = rejected_by_reason(session, typed, [key for key in rejecting if key in ids])
    report = _report(context, inputs, judged, rejected, checks)
    notes = {"rejected": sum(judged.counts[key]["rejected"] for key in ids)}
    if context.source.filters_rows:
        notes["filtered"] = sum(judged.counts[key]["filtered"] for key in ids)
    return replace(report, notes={**notes, **_ignored(corrected)}, seconds=time.perf_counter() - started)


def _asset(source: Source) -> str:
    return f"lake/{source.name}"


def _evolved(context: SourceContext, raw: RawInputs) -> Source:
    """Return the source with the undeclared columns of its lake and of these inputs."""
    new = {name for input_id in raw.input_ids for name in undeclared_names(context.source, raw.headers[input_id])}
    return evolved(context.source, context.lake.snapshot(), new)


def _judge(session: Session, typed: TypedRows, inputs: Sequence[Input], settled: Mapping[str, DataOpsError]) -> _Judged:
    errors = {**settled, **typed.raw.errors, **typed.errors, **changed_types(session, typed)}
    counts = row_counts(session, typed, [item.input_id for item in inputs if item.input_id not in errors])
    errors |= unaccounted(typed.raw, counts)
    there = [item.input_id for item in sorted(inputs) if item.input_id not in errors]
    left_out = values_left_out(session, typed, there)
    for input_id, by_column in left_out.items():
        counts[input_id]["left_out"] = sum(by_column.values())
    gate = lake_gate(session, typed, _asset(typed.source), there)
    errors |= {input_id: error for input_id, outcome in gate.items() if (error := blocked(outcome)) is not None}
    return _Judged(errors, counts, left_out, gate)


def _publish(
    context: SourceContext,
    session: Session,
    typed: TypedRows,
    inputs: Sequence[Input],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    """Publish the rejected and the parsed rows of inputs, and record what they added to the contract."""
    input_ids = [item.input_id for item in inputs]
    rejected = [input_id for input_id in input_ids if counts[input_id]["rejected"]]
    known = context.quarantine.snapshot()
    if rejected or known is None or files_of(known, input_ids):
        replace_inputs(session, context.quarantine, quarantined(typed, rejected), input_ids)
    headers = {input_id: typed.raw.headers[input_id] for input_id in input_ids}
    unsettled, lake = unless_settled(context.source, inputs), context.lake.snapshot()
    # what is parsed again to the same rows leaves the hub's knowledge of them true
    replace_inputs(
        session,
        context.lake,
        typed.parsed(input_ids),
        input_ids,
        lambda info: with_undeclared(context.source, lake, unsettled(info), headers),
        keep_same=True,
    )
    added, relaxed = added_to_contract(context.source, list(headers.values()))
    if added or relaxed:
        context.metadata.contracts.evolve(context.source.name, added, relaxed)


def _ignored(corrected: Corrected) -> dict[str, str]:
    """Return the notes about corrections of columns that no longer exist."""
    return {"corrections of no column": ", ".join(corrected.unknown)} if corrected.unknown else {}


def _report(
    context: SourceContext,
    inputs: Sequence[Input],
    judged: _Judged,
    rejected: Mapping[str, Mapping[str, int]],
    checks: Mapping[str, Sequence[CheckOutcome]],
) -> StepReport:
    snapshot = context.lake.snapshot()
    return StepReport(
        step="parse",
        asset=_asset(context.source),
        inputs=tuple(
            InputReport(
                item.input_id,
                judged.counts.get(item.input_id, {}),
                judged.errors.get(item.input_id),
                (
                    *([judged.gate[item.input_id]] if item.input_id in judged.gate else []),
                    *checks.get(item.input_id, ()),
                ),
                rejected.get(item.input_id, {}),
                written_as(snapshot, item.input_id),
            )
            for item in inputs
        ),
        rows=snapshot.rows if snapshot else None,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=dict(snapshot.columns) if snapshot else {},
        seconds=0.0,
    )
