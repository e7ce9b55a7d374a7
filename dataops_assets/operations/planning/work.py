"""Finds the work that makes the tables as declared: which tables, why, about how many rows, about how long.

The work follows from the tables and the metadata, and not from a comparison of declarations: what an earlier change
left to do is part of it, and what is done already is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dataops_assets.metadata.store import StepTotal
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.steps.upkeep.outdated import Outdated

WorkKind = Literal["parse again", "rebuild", "judge again", "apply rules", "recalculate", "build"]

_OF_HUBS = ("parse again", "rebuild", "judge again", "apply rules")
_HEAVIEST = {"parse again": "rebuilds", "rebuild": "rebuilds"}


@dataclass(frozen=True)
class Work:
    """One piece of work. `subject`: the source, or the model of a `build`.

    * `columns`: the rules or columns that it computes; empty for all.
    * `rows`: at most so many rows are computed; None if that is not known.
    * `seconds`: estimated from what the same steps took before; None if they never ran.
    * `inputs`: the number of inputs that are parsed or judged again.
    * `is_new`: whether its table is made for the first time.
    """

    kind: WorkKind
    subject: str
    table: str
    why: str
    columns: Sequence[str] = ()
    rows: int | None = None
    seconds: float | None = None
    inputs: int = 0
    is_new: bool = False

    @property
    def effect(self) -> str:
        """Return what it does to the rows of its table, in one word: adds, recalculates or rebuilds."""
        return "adds" if self.is_new else _HEAVIEST.get(self.kind, "recalculates")


@dataclass(frozen=True)
class Past:
    """Rows and seconds of earlier work: of steps by source, and of applied plans by kind and subject."""

    steps: Mapping[tuple[str, str], StepTotal] = field(default_factory=dict)
    applied: Mapping[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def seconds(self, kind: WorkKind, subject: str, rows: int | None, steps: Sequence[str]) -> float | None:
        """Estimate how long a piece of work takes; None if nothing like it was ever done."""
        rate = self._rate(kind, subject, steps)
        return None if rate is None or rows is None else round(rate * rows, 1)

    def _rate(self, kind: WorkKind, subject: str, steps: Sequence[str]) -> float | None:
        if (kind, subject) in self.applied:
            rows, seconds = self.applied[kind, subject]
            return seconds / max(rows, 1)
        found = [self.steps[subject, step] for step in steps if (subject, step) in self.steps]
        # some steps count no rows; they take those that were parsed
        parsed = [self.steps[subject, "parse"]] if (subject, "parse") in self.steps else []
        rows = max((item.rows for item in (*found, *parsed)), default=0)
        return sum(item.seconds for item in found) / rows if found and rows else None


def work_of_source(found: Outdated, past: Past) -> Iterator[Work]:
    """Return the work in the tables of one source, in order."""
    name = found.source
    hub, current = found.tables.hub, found.tables.current
    lake_rows = past.steps[name, "parse"] if (name, "parse") in past.steps else StepTotal(0, 0.0, 0)
    if found.to_parse:
        share = len(found.to_parse) / max(lake_rows.inputs, len(found.to_parse))
        rows = round(lake_rows.rows * share)
        why = f"{len(found.to_parse)} inputs were parsed with another declaration"
        if found.renamed:
            why += f"; undeclared columns have other names now: {_renamed(found.renamed)}"
        steps = ("parse", "cdc", "enrich", "refresh")
        seconds = past.seconds("parse again", name, rows, steps)
        yield Work("parse again", name, f"lake/{name}", why, (), rows, seconds, len(found.to_parse))
    # what is parsed again is merged again with its rules
    all_again = len(found.to_parse) >= lake_rows.inputs > 0
    if found.rebuild and hub is not None:
        seconds = 0.0 if all_again else past.seconds("rebuild", name, lake_rows.rows, ("cdc", "refresh"))
        yield Work("rebuild", name, f"hub/{name}", found.rebuild, (), lake_rows.rows, seconds)
    if found.judged or found.refused:
        reasons = [f"{len(found.judged)} held inputs are judged with other limits"] if found.judged else []
        reasons += [f"{len(found.refused)} refused inputs are tried again"] if found.refused else []
        why = f"{' and '.join(reasons)}, and may be merged then"
        yield Work("judge again", name, f"hub/{name}", why, inputs=len(found.judged) + len(found.refused))
    if found.rules and hub is not None:
        names = [*found.rules.changed, *found.rules.removed, *(["s_status", "s_failed"] if found.rules.verdict else [])]
        rows = hub.rows if found.rules.changed or found.rules.verdict else 0
        seconds = 0.0 if all_again else past.seconds("apply rules", name, rows, ("enrich",))
        yield Work("apply rules", name, f"hub/{name}", ", ".join(_why_rules(found)), names, rows, seconds)
    if (found.current or found.contract) and hub is not None:
        reasons = [f"{', '.join(found.current)} has another declaration"] if found.current else []
        reasons += (
            [f"its rows were not judged by the contract {found.contract} as it is declared"] if found.contract else []
        )
        why = "no table yet" if current is None else "; ".join(reasons)
        yield _recalculation(name, hub.rows, why, found.current, past)


def _renamed(names: Mapping[str, str]) -> str:
    return ", ".join(f"{name} becomes {now}" for name, now in sorted(names.items()))


def _why_rules(found: Outdated) -> Iterator[str]:
    if found.rules.changed:
        yield f"new or changed rules: {', '.join(found.rules.changed)}"
    if found.rules.removed:
        yield f"removed rules: {', '.join(found.rules.removed)}"
    if found.rules.verdict:
        yield "the declaration of validations, or of rules that they read, changed"


def _recalculation(name: str, rows: int, why: str, columns: Sequence[str], past: Past) -> Work:
    total = past.steps.get((name, "recalculate"))
    seconds = past.seconds("recalculate", name, rows, ()) or (round(total.seconds, 1) if total else None)
    return Work("recalculate", name, f"hub/{name}_current", why, list(columns), rows, seconds)


def following_work(
    done: Sequence[Work], found: Mapping[str, Outdated], rules: Mapping[str, CompiledRules], past: Past
) -> Iterator[Work]:
    """Return the recalculations that follow because a hub changes that they read; their table exists."""
    changed = {item.subject for item in done if item.kind in _OF_HUBS}
    planned = {item.subject for item in done if item.kind == "recalculate"}
    for name, one in found.items():
        hubs = sorted({name, *rules[name].current.related} & changed)
        if name in planned or not rules[name].current.rules or not hubs or one.tables.hub is None:
            continue
        why = f"hub/{', hub/'.join(hubs)} changes"
        yield _recalculation(name, one.tables.hub.rows, why, list(rules[name].current.rules), past)


@dataclass(frozen=True)
class BuiltModel:
    """A model as the work needs it: its name, asset key, what it reads, and whether it must be built by itself."""

    name: str
    table: str
    reads: Sequence[str]
    why: str = ""
    is_new: bool = False


def work_of_models(
    models: Iterable[BuiltModel], done: Sequence[Work], rows: Mapping[str, int], past: Past
) -> list[Work]:
    """Return the models to build: changed ones, and all below a table with work; each after those that it reads."""
    touched = {item.table for item in done}
    # whoever reads the hub follows what its lake gets
    touched |= {f"hub/{item.subject}" for item in done if item.kind == "parse again"}
    found: list[Work] = []
    waiting = {item.table: item for item in models}
    while ready := [one for one in waiting.values() if not set(one.reads) & waiting.keys() - {one.table}]:
        for model in ready:
            del waiting[model.table]
            read = sorted(touched & set(model.reads))
            why = model.why or (f"it reads {', '.join(read)}" if read else "")
            if why:
                touched.add(model.table)
                count = rows.get(model.name)
                seconds = past.seconds("build", model.name, count, ())
                found.append(Work("build", model.name, model.table, why, (), count, seconds, is_new=model.is_new))
    return found
