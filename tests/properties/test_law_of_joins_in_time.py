"""A look-up as of a moment gives the version that was valid then, whatever arrives late or leaves afterwards."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import law
import pytest
import reference
from declared import unchecked_source
from reference import GivenInput, Version

from dataops_assets.steps.recalculate import recalculate

STORES = unchecked_source(
    "stores",
    {"k": "text", "at": "integer", "city": "text", "op": "text"},
    refresh={"type": "key", "key": ["k"], "order_by": "at", "delete_when": "op = 'D'", "history": True},
)
SALES = unchecked_source(
    "sales",
    {"id": "integer", "k": "text", "t": "integer"},
    refresh={"type": "key", "key": ["id"]},
    relations={
        "store": {"source": "stores", "on": {"k": "k"}, "as_of": "t"},
        "cities": {"source": "stores", "where": [{"column": "k", "is": ">=", "related": "k"}], "as_of": "t"}
        | {"cardinality": "to_many"},
    },
    rules=[
        {"name": "city", "expression": "store.city", "mode": "keep_current"},
        {"name": "cities", "expression": "count(cities.k)", "mode": "keep_current"},
    ],
)


def stores(chosen: random.Random, day: int) -> GivenInput:

    def row() -> reference.Row:
        key, city, op = chosen.choice("abc"), chosen.choice("xyz"), chosen.choice("UUD")
        return {"k": key, "at": chosen.randint(0, 9), "city": city, "op": op}

    rows = [row() for _ in range(chosen.randint(1, 3))]
    return GivenInput(law.at(day), f"s-{day}", tuple(rows))


def valid(versions: list[Version], key: str, moment: int) -> Version | None:
    there = (item for item in versions if item.key == (key,) and not item.is_deleted)
    return next((v for v in there if v.valid_from <= moment and (v.valid_to is None or moment < v.valid_to)), None)


@pytest.mark.parametrize("seed", range(2))
def test_a_row_has_the_version_that_was_valid_at_its_moment(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    here = replace(law.workspace_for(SALES, tmp_path), sources={"sales": SALES, "stores": STORES})
    there = replace(here, source=STORES)
    sold = [{"id": n, "k": chosen.choice("abcd"), "t": chosen.randint(-1, 10)} for n in range(30)]
    law.arrive(here, [GivenInput(law.at(0), "sales", tuple(sold))])
    inputs = [stores(chosen, day) for day in range(4)]
    applied: dict[str, GivenInput] = {}
    for item in [*chosen.sample(inputs, len(inputs)), None]:
        if item is None:
            law.leave(there, [inputs[1].input_id])
            del applied[inputs[1].input_id]
        else:
            law.arrive(there, [item])
            applied[item.input_id] = item
        report = recalculate(here)
        assert report.failures == ()
        versions = reference.keyed(
            applied.values(), key=["k"], tracked=["at", "city", "op"], order_by="at", is_delete=lambda r: r["op"] == "D"
        )
        expected = {}
        for row in sold:
            then = {key: valid(versions, key, row["t"]) for key in "abcd"}
            store = then[row["k"]]
            near = [key for key, version in then.items() if version is not None and key <= row["k"]]
            expected[row["id"]] = (store.row["city"] if store else None, len(near))
        current = law.hub_rows(replace(here, source=SALES), "hub/sales_current")
        assert {row["id"]: (row["city"], row["cities"]) for row in current} == expected
