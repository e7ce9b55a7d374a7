"""Changes of a declaration to draw, and a deployment of two sources to try them on."""

from __future__ import annotations

import copy
import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dataops_assets.components.by_hand import recalculate, run_steps
from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.connections.discovery import discover
from dataops_assets.operations.planning.plan import Tree
from dataops_assets.sql import query
from dataops_assets.steps.source_context import SourceContext

Declared = dict[str, Any]
NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
TABLES = ("lake/{}", "lake/{}_quarantine", "hub/{}", "hub/{}_current")


def _source(name: str, columns: Sequence[Mapping[str, Any]], **more: Any) -> Declared:
    return {
        "name": name,
        "area": "tests",
        "connection": {
            "type": "files",
            "path": f"{name}_*.csv",
            "extract_time": {"pattern": f"{name}_%Y-%m-%d.csv"},
            "settle_seconds": 0,
        },
        "columns": [dict(item) for item in columns],
        "checks": {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")},
        "gates": {"deletes": {"max_share": 1.0}},
        **more,
    }


def declarations() -> dict[str, Declared]:
    """Two sources: sales look up shops in a frozen and in a current rule, and one row of them is quarantined."""
    shops = _source(
        "shops",
        [{"name": "shop", "type": "text"}, {"name": "city"}, {"name": "size", "type": "integer"}],
        refresh={"type": "full", "key": ["shop"]},
        rules=[{"name": "is_big", "expression": "size > 10"}],
    )
    sales = _source(
        "sales",
        [
            {"name": "id", "type": "integer"},
            {"name": "at", "type": "integer"},
            {"name": "shop"},
            {"name": "amount", "type": "double"},
            {"name": "note"},
        ],
        drift={"new_column": "ignore", "missing_column": "ignore"},
        refresh={"type": "key", "key": ["id"], "order_by": "at"},
        relations={"where_": {"source": "shops", "on": {"shop": "shop"}}},
        rules=[
            {"name": "doubled", "expression": "amount * 2"},
            {"name": "city", "expression": "where_.city"},
            {"name": "of_shop", "expression": "sum(amount) over (partition by shop)", "mode": "keep_current"},
            {"name": "in_big", "expression": "where_.is_big", "mode": "keep_current"},
        ],
        validations=[
            {"name": "sells", "expression": "amount >= 0", "severity": "quarantine"},
            {"name": "noted", "expression": "note is not null", "severity": "warn"},
        ],
    )
    return {"shops": shops, "sales": sales}


FILES = {
    "shops_2024-01-01.csv": "shop,city,size\na,Rome,5\nb,Oslo,50\n",
    "sales_2024-01-01.csv": "id,at,shop,amount,note,extra\n1,1,a,5,x,p\n2,1,b,-7,,q\n3,1,a,much,y,q\n4,1,,7,0,\n",
    "sales_2024-01-02.csv": "id,at,shop,amount,note,extra\n1,2,b,6,x,p\n5,2,b,60,y,q\n4,1,a,8,0,r\n",
}


def place_of(row: Mapping[str, Any]) -> str:
    """What identifies a row of any table."""
    return repr((row["s_input_id"], row["s_row_id"], row.get("s_valid_from")))


class Deployment:
    """A deployment below `home` that runs with what is written into its folder of declarations."""

    def __init__(self, home: Path, landing: Path, **places: str) -> None:
        self.home = home
        self.folder = home / "defs"
        settings = {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), "DATAOPS_LANDING": str(landing), **places}
        self.environment: Environment = environment_from(settings, home)
        self.platform = Platform(self.environment)

    def write(self, declared: Mapping[str, Declared]) -> Tree:
        """Declare these sources. Raises ConfigError if they are wrong."""
        for name, source in declared.items():
            file = self.folder / name / "defs.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {"type": "dataops_assets.components.SourceComponent", "attributes": source}
            file.write_text(yaml.safe_dump(content, sort_keys=False))
        tree = Tree.of(declared_sources(self.folder), self.home, self.environment)
        for name in declared:
            tree.declared.rules(name)
        return tree

    def contexts(self, tree: Tree) -> list[SourceContext]:
        """The contexts of all sources."""
        sources = tree.declared.sources
        return [self.platform.source_context(source, sources) for source in sources.values()]

    def run(self, tree: Tree) -> list[str]:
        """Do what is due, as the sensors and automation do; the result are the errors of inputs."""
        errors = []
        for context in sorted(self.contexts(tree), key=lambda one: one.source.name, reverse=True):
            name = context.source.name
            discover(context.source, self.environment, context.metadata, now=NOW)
            left = context.metadata.unfinished(name)
            errors += list(run_steps(context, left, "ingest", "run", str).errors)
        for context in self.contexts(tree):
            if context.source.keep_current_rules and context.hub.snapshot() is not None:
                recalculate(context)
        return errors

    def rows(self, tree: Tree) -> dict[str, list[dict[str, Any]]]:
        """The rows of all tables that readers see."""
        found = {}
        for context in self.contexts(tree):
            for pattern in TABLES:
                key = pattern.format(context.source.name)
                snapshot = context.table(key).snapshot()
                if snapshot is None or not snapshot.rows:
                    continue
                with context.engine.session() as session:
                    rows = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot))).to_pylist()
                found[key] = sorted(rows, key=place_of)
        return found


def deliver(landing: Path) -> None:
    """Put the files of both sources into the landing folder."""
    landing.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (landing / name).write_text(content)
        os.utime(landing / name, (1_704_100_000, 1_704_100_000))


Edit = Callable[[dict[str, Declared]], None]


def _part(declared: Mapping[str, Declared], source: str, key: str, name: str) -> dict[str, Any]:
    return next(item for item in declared[source][key] if item["name"] == name)


def _set(source: str, key: str, name: str, **values: Any) -> Edit:
    return lambda declared: _part(declared, source, key, name).update(copy.deepcopy(values))


def _add(source: str, key: str, item: dict[str, Any]) -> Edit:
    return lambda declared: declared[source][key].append(copy.deepcopy(item))


def _drop(source: str, key: str, name: str) -> Edit:
    def edit(declared: dict[str, Declared]) -> None:
        declared[source][key] = [item for item in declared[source][key] if item["name"] != name]

    return edit


def _put(source: str, key: str, value: Any) -> Edit:
    return lambda declared: declared[source].update({key: copy.deepcopy(value)})


HARMLESS: Mapping[str, Edit] = {
    "a column's words": _set("sales", "columns", "amount", description="In euros."),
    "a column's tag": _set("sales", "columns", "note", tags={"unit": "none"}),
    "a rule's words": _set("sales", "rules", "doubled", description="Twice."),
    "a rule in other spacing": _set("sales", "rules", "doubled", expression="amount   *  2"),
    "a validation's words": _set("sales", "validations", "sells", description="Why."),
    "the source's words": _put("sales", "description", "One row a sale."),
    "owners": _put("sales", "owners", ["team:shop"]),
    "the area": _put("shops", "area", "shop"),
    "a check's limit": _put("sales", "checks", {"freshness": {"fail_after_hours": 90}}),
    "retention": _put("sales", "retention", {"versions": "3 days"}),
    "a look-up nobody uses": lambda declared: declared["sales"]["relations"].update(
        {"other": {"source": "shops", "on": {"note": "city"}}}
    ),
    "how many inputs a run takes": _put("sales", "discovery", {"inputs_per_run": 7}),
}

EDITS: Mapping[str, Edit] = {
    **HARMLESS,
    "another expression": _set("sales", "rules", "doubled", expression="amount * 3"),
    "another look-up": _set("sales", "rules", "city", expression="upper(where_.city)"),
    "another window": _set("sales", "rules", "of_shop", expression="count(*) over (partition by shop)"),
    "a frozen rule becomes current": _set("sales", "rules", "doubled", mode="keep_current"),
    "another type of a rule": _set("sales", "rules", "doubled", type="text"),
    "a rule goes": _drop("sales", "rules", "doubled"),
    "the current rules go": lambda declared: [
        _drop("sales", "rules", name)(declared) for name in ("of_shop", "in_big")
    ],
    "a new rule": _add("sales", "rules", {"name": "tripled", "expression": "doubled + amount"}),
    "a new current rule": _add(
        "sales", "rules", {"name": "n", "expression": "count(*) over ()", "mode": "keep_current"}
    ),
    "a rule of the other source": _set("shops", "rules", "is_big", expression="size > 3"),
    "a new validation": _add("sales", "validations", {"name": "small", "expression": "amount < 7", "severity": "warn"}),
    "a validation keeps rows out": _set("sales", "validations", "noted", severity="quarantine"),
    "a validation lets rows in": _set("sales", "validations", "sells", severity="warn"),
    "a validation goes": _drop("sales", "validations", "sells"),
    "a new column": _add("sales", "columns", {"name": "extra"}),
    "a new column that no file has": _add("sales", "columns", {"name": "absent", "type": "integer"}),
    "a computed column": _add("sales", "columns", {"name": "half", "type": "double", "expression": "amount / 2"}),
    "a column goes": lambda declared: [
        _drop("sales", "validations", "noted")(declared),
        _drop("sales", "columns", "note")(declared),
    ],
    "a wider type": _set("sales", "columns", "at", type="double"),
    "a narrower type": _set("sales", "columns", "note", type="integer"),
    "a column from another one": _set("sales", "columns", "note", source_name="extra"),
    "a default": _set("sales", "columns", "shop", default="'b'"),
    "nulls are refused": _set("sales", "columns", "shop", nullable=False),
    "a word for null": _set("sales", "columns", "note", null_words=["", "x"]),
    "columns in another order": lambda declared: declared["sales"]["columns"].reverse(),
    "columns evolve": _put("sales", "drift", {"new_column": "evolve", "missing_column": "ignore"}),
    "a filter": _put("sales", "keep_when", "amount < 50"),
    "another key": _put("sales", "refresh", {"type": "key", "key": ["id", "at"]}),
    "another order": _put("sales", "refresh", {"type": "key", "key": ["id"]}),
    "history": _put("sales", "refresh", {"type": "key", "key": ["id"], "order_by": "at", "history": True}),
    "whole extracts": _put("sales", "refresh", {"type": "full", "key": ["id"]}),
    "appended": _put("sales", "refresh", {"type": "append"}),
    "a change that is ignored": _put(
        "sales", "refresh", {"type": "key", "key": ["id"], "order_by": "at", "ignore_changes_in": ["note"]}
    ),
    "rows that delete many keys": _put(
        "sales",
        "refresh",
        {"type": "key", "key": ["id"], "order_by": "at", "group_deletes": [{"when": "note = 'y'"}]},
    ),
    "markers": _put("sales", "refresh", {"type": "key", "key": ["id"], "order_by": "at", "delete_when": "note = 'y'"}),
    "values of several rows": _put(
        "sales", "refresh", {"type": "key", "key": ["id"], "order_by": "at", "merge": {"note": "last"}}
    ),
    "ranges": _put("sales", "refresh", {"type": "sequence", "range_by": "at"}),
    "periods": lambda declared: [
        _add("sales", "columns", {"name": "day", "type": "date", "expression": "cast('2024-01-0' || at as date)"})(
            declared
        ),
        _put("sales", "refresh", {"type": "timestamp", "range_by": "day", "period": "day"})(declared),
    ],
    "a key of the other source": _put("shops", "refresh", {"type": "full"}),
    "a type of the other source": _set("shops", "columns", "size", type="double"),
    "another join": lambda declared: declared["sales"]["relations"]["where_"].update({"on": {"note": "shop"}}),
}
