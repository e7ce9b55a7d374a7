"""Checks the parsed rows of each input: the gate of the lake, then volume, schema and distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dataops_assets.engines.base import Session
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.checks import EarlierInputs, input_outcomes, judged
from dataops_assets.quality.gates import gate_inputs
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.report import CheckOutcome
from dataops_assets.steps.evolved_columns import undeclared_names
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.parsing.drift import missing_columns, with_counts
from dataops_assets.steps.parsing.typed_rows import TypedRows
from dataops_assets.steps.source_context import SourceContext


def lake_gate(session: Session, typed: TypedRows, asset: str, input_ids: Sequence[str]) -> dict[str, CheckOutcome]:
    """Return the outcome of the lake's gate for each input; nothing without a gate."""
    source = typed.source
    if source.gates.lake is None or not input_ids:
        return {}
    names = {name: item.name for item in source.columns for name in item.raw_names}
    headers = {key: [names.get(name, name) for name in typed.raw.headers[key]] for key in input_ids}
    return gate_inputs(session, source.gates.lake, asset, typed.without_markers(input_ids), input_ids, headers)


def profile_lake(session: Session, typed: TypedRows, asset: str, counts: Mapping[str, int]) -> list[Profile]:
    """Return the profile of each input of `counts` (number of parsed rows), also of one without rows.

    The statistics of columns leave out delete markers.
    """
    if not counts:
        return []
    source, input_ids = typed.source, list(counts)
    rows = typed.without_markers(input_ids)
    declared = set(source.column_names)
    types = {name: kind for name, kind in session.schema(rows).items() if name in declared}
    hidden = [item.name for item in source.columns if "pii" in item.tags]
    found = {item.input_id: item for item in profile_inputs(session, rows, types, asset, hidden)}
    nothing = tuple(ColumnProfile(name, kind, 0, 0, None, None, None, None) for name, kind in types.items())
    profiles = [found.get(input_id) or Profile(asset, input_id, 0, nothing) for input_id in input_ids]
    return [replace(profile, rows=counts[profile.input_id]) for profile in profiles]


def check_profiles(
    context: SourceContext,
    typed: TypedRows,
    profiles: Sequence[Profile],
    left_out: Mapping[str, Mapping[str, int]],
    advice: Mapping[str, Mapping[str, str]],
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Save the profiles, and compare each with those of earlier inputs: volume, schema and distribution.

    `left_out` is the number of values that were left out, by input and column. `advice` says what rejected values look
    like.
    """
    if not profiles:
        return {}
    source, asset = typed.source, profiles[0].asset
    compared = saved_and_compared(context, asset, profiles)
    # as the engine spells the types
    expected = {item.name: item.type for item in profiles[0].columns}
    told = judged(profiles, compared, source.checks)
    outcomes = {}
    earlier = EarlierInputs(compared.known)
    for profile in profiles:
        note = "; ".join(
            [
                *_notes(typed, profile.input_id, left_out.get(profile.input_id, {})),
                *(f"rejected {name} {text}" for name, text in advice.get(profile.input_id, {}).items()),
            ]
        )
        outcomes[profile.input_id] = input_outcomes(
            profile,
            earlier.before(profile),
            source.checks,
            expected,
            note,
            told.get(profile.input_id),
        )
    return outcomes


def _notes(typed: TypedRows, input_id: str, left_out: Mapping[str, int]) -> list[str]:
    """Return what differs from the contract in an input that was accepted, as texts."""
    source, header = typed.source, typed.raw.headers[input_id]
    missing, new = missing_columns(source, header), undeclared_names(source, header)
    notes = [f"missing in the input, so null: {', '.join(missing)}"] if missing else []
    what = "not declared, so kept as text" if source.drift.new_column == "evolve" else "in the input and not declared"
    notes += [f"{what}: {with_counts(new, typed.raw.undeclared.get(input_id, {}))}"] if new else []
    values_of = ", ".join(f"{name} ({count:,})" for name, count in left_out.items())
    notes += [f"values left out because of their type: {values_of}"] if values_of else []
    return notes
