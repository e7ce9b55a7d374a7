"""Which versions of tables readers may see together: those that were made of each other, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_assets.engines.warehouse_builds import Build, Builds
from dataops_assets.steps.upkeep.agreeing_versions import Agreement, agreement
from dataops_assets.storage.delta import DataFile, TableVersion


def version(asset: str, number: int, rows: int = 1, file: str = "", **info: Any) -> TableVersion:
    files = (DataFile(file or f"{number}.parquet", 1, rows),) if rows else ()
    return TableVersion(asset, number, {"id": "BIGINT"}, files, info, {"id": asset}, f"{asset}@{number}")


def current(number: int, hub: int, **related: int) -> TableVersion:
    known = {name: [at, f"hub/{name}@{at}"] for name, at in related.items()}
    return version("hub/sales_current", number, computed_from={"hub": [hub, f"hub/sales@{hub}"], "related": known})


def found(members: list[str], tables: Mapping[str, list[TableVersion]], builds: Mapping[str, Build]) -> Agreement:
    def at(asset: str, number: int | None) -> TableVersion | None:
        known = tables.get(asset, [])
        return next((item for item in reversed(known) if number in (None, item.version)), None)

    shown = {asset: several[-1].version for asset, several in tables.items()}
    return agreement(members, at, Builds(builds, shown), ("sales", "stores", "open_current"))


def versions(result: Agreement) -> dict[str, int | None]:
    assert not result.reasons, result.reasons
    return {item.asset: item.version for item in result.tables}


SALES = [version("hub/sales", 1), version("hub/sales", 2)]
STORES = [version("hub/stores", 1), version("hub/stores", 2)]


def test_models_decide_which_versions_of_the_hub_are_shown() -> None:
    tables = {"hub/sales": SALES, "hub/stores": STORES}
    fact = Build("a", False, {"hub/sales": 1}, {})
    members = ["hub/sales", "hub/stores", "warehouse/fact"]
    assert versions(found(members, tables, {"warehouse/fact": fact})) == {
        "hub/sales": 1,
        "hub/stores": 2,
        "warehouse/fact": None,
    }


def test_a_source_can_be_named_as_if_it_were_recalculated() -> None:
    hubs = [version("hub/open_current", 1), version("hub/open_current", 2)]
    computed = {"hub": [1, "hub/open_current@1"], "related": {}}
    current = version("hub/open_current_current", 1, computed_from=computed)
    tables = {"hub/open_current": hubs, "hub/open_current_current": [current]}
    assert set(versions(found(list(tables), tables, {})).values()) == {1}


def test_a_fact_of_today_waits_for_the_dimension_of_today() -> None:
    tables = {"hub/sales": SALES, "hub/stores": STORES}
    dim, fact = Build("a", False, {"hub/stores": 1}, {}), Build("b", False, {"hub/sales": 2, "hub/stores": 2}, {})
    result = found(["warehouse/fact", "warehouse/dim"], tables, {"warehouse/fact": fact, "warehouse/dim": dim})
    assert result.tables == []
    (reason,) = result.reasons
    assert "hub/stores: warehouse/fact is made of version 2, and warehouse/dim of version 1" in reason


def test_a_model_waits_until_it_follows_the_models_that_it_reads() -> None:
    stage = Build("new", False, {"hub/sales": 2}, {})
    fact = Build("b", False, {}, {"warehouse/stage": "old"})
    result = found(["warehouse/fact"], {"hub/sales": SALES}, {"warehouse/fact": fact, "warehouse/stage": stage})
    assert result.reasons == ["warehouse/fact: it is to be built again, because warehouse/stage was built since"]
    # a view stores no rows
    shown = Build("b", True, {}, {"warehouse/stage": "old"})
    assert versions(
        found(["warehouse/fact"], {"hub/sales": SALES}, {"warehouse/fact": shown, "warehouse/stage": stage})
    )
    assert "never built" in found(["warehouse/fact"], {}, {}).reasons[0]


def test_a_recalculated_hub_is_shown_with_the_look_ups_that_it_has() -> None:
    tables = {"hub/sales": SALES, "hub/stores": STORES, "hub/sales_current": [current(5, 2, stores=1)]}
    members = ["hub/sales", "hub/stores", "hub/sales_current"]
    assert versions(found(members, tables, {})) == {"hub/sales": 2, "hub/stores": 1, "hub/sales_current": 5}
    dim = Build("a", False, {"hub/stores": 2}, {})
    assert "hub/stores" in found([*members, "warehouse/dim"], tables, {"warehouse/dim": dim}).reasons[0]


def test_versions_with_the_same_rows_agree() -> None:
    """A rollback publishes the files of an old version under a new number."""
    tables = {"hub/stores": [version("hub/stores", 1, file="x"), version("hub/stores", 3, file="x")]}
    one, other = Build("a", False, {"hub/stores": 1}, {}), Build("b", False, {"hub/stores": 3}, {})
    assert versions(found(["warehouse/a", "warehouse/b"], tables, {"warehouse/a": one, "warehouse/b": other}))


def test_a_table_without_rows_agrees_only_with_what_saw_none() -> None:
    build = {"warehouse/fact": Build("a", False, {"hub/sales": None}, {})}
    members = ["hub/sales", "warehouse/fact"]
    assert versions(found(members, {}, build)) == {"hub/sales": None, "warehouse/fact": None}
    assert versions(found(members, {"hub/sales": [version("hub/sales", 4, rows=0)]}, build))["hub/sales"] == 4
    assert "had no rows" in found(members, {"hub/sales": SALES}, build).reasons[0]


def test_a_number_that_another_commit_has_is_not_the_version() -> None:
    lost = current(5, 2)
    lost.info["computed_from"]["hub"][1] = "another commit"  # type: ignore[index]
    tables = {"hub/sales": SALES, "hub/sales_current": [lost]}
    result = found(["hub/sales", "hub/sales_current"], tables, {})
    assert result.reasons == ["hub/sales: version 2 is not the one that hub/sales_current was made of"]
