"""Compares the columns of an input with the declared ones, by the source's `drift` settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataops_assets.config.contract import EvolvedColumn
from dataops_assets.config.source import Source
from dataops_assets.steps.evolved_columns import evolved_name, undeclared_names
from dataops_assets.steps.parsing.advice import advice


def drift_problem(source: Source, header: Sequence[str], undeclared: Mapping[str, int]) -> tuple[str, str] | None:
    """Return why the columns of an input are refused and what to do next; None if the source allows them.

    `undeclared` is the number of values of each undeclared column.
    """
    missing = missing_columns(source, header)
    new = undeclared_names(source, header)
    if missing and source.drift.missing_column == "fail":
        received = f"no column {', '.join(missing)}; its columns are {', '.join(header)}"
        otherwise = "deliver it with all columns, or set drift.missing_column to ignore"
        return received, advice(missing, header, new) or otherwise
    ambiguous = _ambiguous(source, header) or _becoming_one(source, header, new)
    if ambiguous is not None:
        return ambiguous
    if new and source.drift.new_column == "fail":
        return (
            f"columns that are not declared: {with_counts(new, undeclared)}",
            "declare them, or set drift.new_column to ignore",
        )
    return None


def missing_columns(source: Source, header: Sequence[str]) -> list[str]:
    """Return the declared columns that the input lacks under all of their names, by their present raw name."""
    declared = (item for item in source.columns if not isinstance(item, EvolvedColumn) and not item.expression)
    return [item.raw_name for item in declared if not set(item.raw_names) & set(header)]


def with_counts(names: Sequence[str], held: Mapping[str, int]) -> str:
    """Return the names of undeclared columns as a text, with the number of values of each."""
    told = []
    for name in names:
        count = held.get(name, 0)
        told.append(f"{name or repr(name)} ({count:,} value{'' if count == 1 else 's'})")
    return ", ".join(told)


def added_to_contract(source: Source, headers: Sequence[Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Return what inputs with these columns added to the contract, if `drift` is `evolve`.

    First the undeclared columns by name, with their raw names; then the required columns that some inputs lack.
    """
    found = [set(header) for header in headers]
    added = {
        item.name: raw_names
        for item in source.columns
        if isinstance(item, EvolvedColumn)
        and (raw_names := [name for name in item.raw_names if any(name in header for header in found)])
    }
    relaxed = [
        item.name
        for item in source.columns
        if source.drift.missing_column == "evolve"
        and not item.nullable
        and item.default is None
        and not item.expression
        and any(not header & set(item.raw_names) for header in found)
    ]
    return added, relaxed


def _ambiguous(source: Source, header: Sequence[str]) -> tuple[str, str] | None:
    """Return the problem of an input in which several columns could be one declared column."""
    repeated = [name for item in source.columns for name in item.raw_names if header.count(name) > 1]
    if repeated:
        return f"more than one column {', '.join(repeated)}", "give each column a name of its own"
    renamed = [both for item in source.columns if len(both := [name for name in item.raw_names if name in header]) > 1]
    if renamed:
        received = "; ".join(f"{' and '.join(names)}, which are names of one column" for names in renamed)
        return received, "deliver one of them, or declare two columns"
    return None


def _becoming_one(source: Source, header: Sequence[str], new: Sequence[str]) -> tuple[str, str] | None:
    """Return the problem of an input in which several undeclared columns would get one name."""
    if source.drift.new_column != "evolve":
        return None
    same = [
        names
        for name in dict.fromkeys(evolved_name(source, raw) for raw in new)
        if len(names := [raw for raw in new if evolved_name(source, raw) == name]) > 1
    ]
    repeated = [raw for raw in new if header.count(raw) > 1]
    if not same and not repeated:
        return None
    received = "; ".join(" and ".join(names) for names in same) or f"more than one column {', '.join(repeated)}"
    return f"undeclared columns that become one: {received}", "give each column a name of its own, or declare them"
