"""The refresh types give the same tables on both engines, also where one continues what the other began."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import law
import pytest
from both_engines import assert_same
from law_cases import HISTORIC, HUGE, KINDS, MERGED, NUMBERS, VALUES, source_for
from reference import GivenInput

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.retention import settle_inputs

KEYS = ("a", "b", "a|b", "é", "", "\\", "\U0001f600", "Z")
ODD = (*(number for number in NUMBERS if number is not None), 0.1 + 0.2, 1e-5, 1e20, 2.0**-44, 5e-324, 1.1e23)


def given(name: str, day: int, seed: int) -> GivenInput:
    """An input of a dozen rows with hostile values."""
    chosen = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(12):
        step = chosen.randint(0, 6)
        rows.append(
            {
                "k": chosen.choice(KEYS),
                "part": chosen.choice(("0", "b|c", "")),
                "at": chosen.randint(0, 5),
                "v": chosen.choice(VALUES),
                "n": chosen.choice((None, *ODD)),
                "ignored": chosen.choice(VALUES),
                "op": chosen.choice("IUD"),
                "seen": law.at(step),
                "number": HUGE + step,
            }
        )
    return GivenInput(law.at(day), name, tuple(rows))


FIRST, SECOND, THIRD = given("1-a", 1, 1), given("2-b", 2, 2), given("0-late", 0, 3)


def story(source: Source, home: Path, engines: tuple[Engine, Engine, Engine]) -> SourceContext:
    """Two inputs in order, then a late one, then one is removed; each step by the next engine."""
    context = law.workspace_for(source, home, engines[0])
    context.metadata.migrate()
    law.arrive(context, [FIRST])
    law.arrive(law.workspace_for(source, home, engines[1]), [SECOND])
    last = law.workspace_for(source, home, engines[2])
    law.arrive(last, [THIRD])
    law.leave(last, ["2-b"])
    return last


# kind, whether it keeps history, and who does the three parts of the story: every engine begins, goes on and ends
STORIES = [
    ("key_ordered", True, "sds"),
    ("key_groups", True, "sdd"),
    ("full", True, "dsd"),
    ("full_keyless", False, "dds"),
    # the rows of a declared period; those of a range are covered by `sequence`
    ("timestamp_of_a_week", True, "dds"),
    ("sequence", False, "sdd"),
    ("custom", True, "dsd"),
    ("append", False, "dss"),
    ("key_merged", True, "dds"),
    ("full_valid_from_untracked", True, "dss"),
]


@pytest.mark.parametrize(("kind", "history", "who"), STORIES)
def test_a_table_may_change_engines(
    kind: str, history: bool, who: str, spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path
) -> None:
    kinds = KINDS | MERGED | HISTORIC
    refresh = kinds[kind].refresh if kind in kinds else {"type": kind}
    source = source_for({**refresh, "history": True} if history else refresh)
    alone = story(source, tmp_path / "embedded", (duckdb, duckdb, duckdb))
    first, second, third = (spark if letter == "s" else duckdb for letter in who)
    assert_same(duckdb, alone, story(source, tmp_path / "mixed", (first, second, third)))


def test_inputs_that_one_engine_settled_are_settled_for_the_other(
    spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path
) -> None:
    """Timelines that start with settled rows are the same, too."""
    source = source_for(KINDS["full_keyless"].refresh, retention={"superseded_inputs": "0 days"})

    def settled(home: Path, first: Engine, second: Engine) -> SourceContext:
        context = law.workspace_for(source, home, duckdb)
        context.metadata.migrate()
        law.arrive(context, [THIRD, FIRST])
        law.arrive(context, [SECOND])
        assert settle_inputs(law.workspace_for(source, home, first)) is not None
        last = law.workspace_for(source, home, second)
        law.leave(last, ["2-b"])
        return last

    alone = settled(tmp_path / "embedded", duckdb, duckdb)
    assert_same(duckdb, alone, settled(tmp_path / "mixed", spark, spark))
