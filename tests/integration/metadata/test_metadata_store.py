"""What the store keeps and gives back, on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import math
import threading
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa
from metadata_examples import START, an_input, source
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.contract import Column
from dataops_assets.config.rules import Rule
from dataops_assets.errors import ConfigError, GateFailed, InputError, StorageError
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.report import CheckOutcome, InputReport, RuleReceipt, StepReport

INPUTS = [an_input(number) for number in range(4)]
IDS = [item.input_id for item in INPUTS]


@pytest.fixture
def sales(store: MetadataStore) -> MetadataStore:
    """A store that knows the source `sales` and four inputs."""
    store.contracts.register(source())
    store.register_inputs("sales", INPUTS)
    return store


def report(*inputs: InputReport, step: str = "parse", **changes: object) -> StepReport:
    made = StepReport(step, "lake/sales", inputs, rows=7, version=3, columns={}, seconds=2.0)
    return replace(made, **changes)


# --- sources and contracts -------------------------------------------------------------------------------------------


def test_a_contract_version_goes_up_with_what_data_means_and_with_nothing_else(store: MetadataStore) -> None:
    rule = Rule(name="double_amount", expression="2 * amount", description="Twice")
    assert store.contracts.register(source()) == 1
    assert store.contracts.register(source()) == 1
    elsewhere = FileConnection(type="files", path="elsewhere")
    assert store.contracts.register(source(description="Better words", owners=(), connection=elsewhere)) == 1
    assert store.contracts.register(source(rules=(rule,))) == 2
    assert store.contracts.register(source(rules=(rule.model_copy(update={"description": "Two times"}),))) == 2
    assert store.contracts.register(source(rules=(rule,), columns=(Column(name="amount"),))) == 3
    # a contract that comes back is in force from now on, so it is a version of its own
    assert store.contracts.register(source()) == 4


def test_an_unchanged_source_is_not_written(url: str) -> None:
    store = MetadataStore(url)
    store.contracts.register(source())
    statements = _statements(lambda: store.contracts.register(source()))
    assert [text for text in statements if text.startswith("INSERT")] == []


def test_a_source_that_is_not_registered_is_named_with_the_nearest_known(sales: MetadataStore) -> None:
    for call in (
        lambda: sales.register_inputs("sale", INPUTS),
        lambda: sales.start("sale", "parse", IDS, "run"),
        lambda: sales.finish("sale", report(InputReport(IDS[0])), "run"),
        lambda: sales.profiles.save("sale", "lake/sale", [Profile("lake/sale", "", 1, ())]),
        lambda: sales.remember_arrivals("sale", [Arrival("/a", 1, START, "", None, START)]),
    ):
        with pytest.raises(ConfigError, match="did you mean 'sales'"):
            call()


# --- inputs and arrivals ---------------------------------------------------------------------------------------------


def test_only_unknown_inputs_are_new_and_a_known_one_stays_as_it_is(sales: MetadataStore) -> None:
    late = an_input(9)
    moved = replace(INPUTS[0], origin="/landing/again.csv")
    assert sales.register_inputs("sales", [late, moved, late]) == [late.input_id]
    assert sales.inputs("sales") == [*INPUTS, late]


def test_two_looks_that_choose_one_id_for_two_contents_lose_none(sales: MetadataStore) -> None:
    other = replace(INPUTS[0], content="f" * 64, digest="f" * 64)
    with pytest.raises(StorageError, match="the next look gives the input another id"):
        sales.register_inputs("sales", [an_input(9), other])
    assert sales.inputs("sales") == INPUTS


def test_inputs_come_in_the_order_in_which_they_supersede_each_other(sales: MetadataStore) -> None:
    assert sales.inputs("sales", [IDS[3], IDS[1], IDS[3]]) == [INPUTS[1], INPUTS[3]]
    assert sales.inputs("sales", []) == []
    assert sales.inputs("nothing") == []
    with pytest.raises(InputError, match="1 that are not registered, such as unheard-of"):
        sales.inputs("sales", [IDS[0], "unheard-of"])


def test_times_come_back_as_the_same_instant_in_utc(sales: MetadataStore) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    given = replace(an_input(20), extract_time=dt.datetime(2013, 1, 1, 3, 0, 0, 1, tzinfo=zone))
    sales.register_inputs("sales", [given])
    (kept,) = sales.inputs("sales", [given.input_id])
    assert kept.extract_time == given.extract_time
    assert kept.extract_time.tzinfo is dt.UTC
    before = dt.datetime.now(dt.UTC)
    sales.start("sales", "parse", [given.input_id], "run")
    (process,) = sales.processes("sales")
    assert before <= process.started_at <= dt.datetime.now(dt.UTC)


def test_what_no_database_stores_as_text_is_escaped_instead_of_failing(sales: MetadataStore) -> None:
    hostile = replace(an_input(30), origin="/landing/\udcff\x00'; DROP TABLE inputs; --\U0001f600")
    sales.register_inputs("sales", [hostile])
    (kept,) = sales.inputs("sales", [hostile.input_id])
    assert kept.origin == "/landing/\\udcff\\x00'; DROP TABLE inputs; --\U0001f600"
    check = CheckOutcome(
        "lake/sales", "contract", False, "fail", "bad \x00", None, {"mean": math.nan, "rows": 2**70, "example": "\x00"}
    )
    sales.finish("sales", report(InputReport(hostile.input_id, checks=(check,))), "run")
    (result,) = sales.check_results("sales")
    assert result.outcome.explanation == "bad \\x00"
    assert result.outcome.numbers == {"mean": "nan", "rows": 2**70, "example": "\\x00"}


def test_a_file_version_is_remembered_once_with_what_was_seen_last(sales: MetadataStore) -> None:
    settling = Arrival("/b", 5, START, "", None, START, "settling")
    taken = replace(settling, digest=INPUTS[0].digest, input_id=IDS[0], note="")
    changed = replace(taken, size=6, input_id=IDS[1])
    other = Arrival("/a", 5, START, INPUTS[0].digest, IDS[0], START, "already known")
    sales.remember_arrivals("sales", [settling])
    assert sales.arrivals("sales") == [settling]
    sales.remember_arrivals("sales", [settling, taken, changed, other])
    assert sales.arrivals("sales") == [other, taken, changed]
    assert sales.arrivals("nothing") == []


# --- processes -------------------------------------------------------------------------------------------------------


def test_an_input_must_be_registered_before_anything_is_recorded_of_it(sales: MetadataStore) -> None:
    check = CheckOutcome("lake/sales", "volume", True, "warn", "", "unheard-of")
    for call in (
        lambda: sales.start("sales", "parse", [IDS[0], "unheard-of"], "run"),
        lambda: sales.finish("sales", report(InputReport("unheard-of")), "run"),
        lambda: sales.finish("sales", report(InputReport(IDS[0]), checks=(check,)), "run"),
        lambda: sales.profiles.save("sales", "lake/sales", [Profile("lake/sales", "unheard-of", 1, ())]),
        lambda: sales.remember_arrivals("sales", [Arrival("/a", 1, START, "", "unheard-of", START)]),
    ):
        with pytest.raises(InputError, match="unheard-of"):
            call()
    assert sales.processes("sales") == []
    assert sales.check_results("sales") == []


def test_a_step_runs_then_is_done_or_failed_for_each_input(sales: MetadataStore) -> None:
    sales.start("sales", "parse", IDS[:2], "run")
    assert sales.step_status("sales", "parse") == {IDS[0]: "running", IDS[1]: "running"}
    error = GateFailed("checking lake/sales", received="3 nulls")
    sales.finish(
        "sales",
        report(InputReport(IDS[0], {"rows": 5, "rejected": 1, "files": 2}), InputReport(IDS[1], error=error)),
        "run",
    )
    assert sales.step_status("sales", "parse") == {IDS[0]: "done", IDS[1]: "failed"}
    assert sales.step_status("sales", "enrich") == {}
    done, failed = sales.processes("sales", "parse")
    assert done.counts == {"rows": 5, "rejected": 1, "files": 2}
    assert (done.asset, done.table_version, done.contract_version) == ("lake/sales", 3, 1)
    assert (done.error_type, done.error) == (None, None)
    assert (failed.error_type, failed.error) == ("GateFailed", str(error))
    # the seconds of a step are shared, so that they can be summed
    assert done.seconds == failed.seconds == 1.0
    assert done.finished_at is not None
    assert done.finished_at >= done.started_at


def test_what_a_look_asks_is_told_without_reading_each_step(sales: MetadataStore) -> None:
    assert sales.done_writes("sales") == {}
    assert sales.done_steps("sales", ["parse"]) == (0, None)
    assert set(sales.input_ids("sales")) == set(IDS)
    assert sales.unfinished("sales") == sorted(INPUTS)
    counts = InputReport(IDS[0], {"rows": 5, "rejected": 1}, written="write 1")
    sales.finish("sales", report(counts, InputReport(IDS[1], {"rejected": 0})), "run")
    failed = InputReport(IDS[1], error=GateFailed("refreshing"))
    sales.finish("sales", report(InputReport(IDS[0], written="write 1"), failed, step="refresh"), "run")
    # the id of the write may not be known
    assert sales.done_writes("sales") == {
        "parse": {IDS[0]: "write 1", IDS[1]: None},
        "refresh": {IDS[0]: "write 1"},
    }
    assert sales.rejecting("sales") == {IDS[0]}
    assert [item.input_id for item in sales.unfinished("sales")] == [
        item.input_id for item in sorted(INPUTS) if item.input_id != IDS[0]
    ]
    count, last = sales.done_steps("sales", ["parse", "refresh"])
    assert count == 3
    assert last == max(item.finished_at for item in sales.processes("sales") if item.finished_at is not None)
    assert {item.input_id for item in sales.processes("sales", input_ids=[IDS[1]])} == {IDS[1]}
    sales.start("sales", "cdc", [IDS[0]], "run")
    assert [(item.step, item.input_id) for item in sales.running("sales")] == [("cdc", IDS[0])]
    times = [item.extract_time for item in INPUTS]
    shared = [item for item in sorted(INPUTS) if times.count(item.extract_time) > 1]
    assert sales.inputs_of_one_time("sales") == shared
    assert sales.inputs_before("sales", min(times)) == frozenset()
    assert sales.inputs_before("sales", max(times) + dt.timedelta(days=1)) == set(IDS)


def test_receipts_of_a_step_are_kept_with_its_run(sales: MetadataStore) -> None:
    receipts = (RuleReceipt("a'b", "v1", 2**40, 3), RuleReceipt("a'b", "v2", 0, 0))
    sales.finish("sales", replace(report(step="recalculate"), receipts=receipts), "run")
    sales.save_receipts("sales", replace(report(), asset="hub/sales", receipts=receipts[:1]))
    found = sales.receipts("sales")
    assert [(item.asset, item.run_id, item.receipt) for item in found] == [
        *(("lake/sales", "run", receipt) for receipt in receipts),
        ("hub/sales", "", receipts[0]),
    ]
    assert [item.table_version for item in sales.receipts("sales", "hub/sales")] == [3]
    with pytest.raises(ConfigError, match="'other'"):
        sales.save_receipts("other", report())


def test_important_counts_can_be_summed_in_sql(sales: MetadataStore, url: str) -> None:
    counts = {"rows": 9, "new": 1, "changed": 2, "unchanged": 3, "old": 4, "deleted": 5, "rejected": 6}
    sales.finish("sales", report(InputReport(IDS[0], counts), InputReport(IDS[1], counts), step="cdc"), "run")
    sums = _rows(
        url,
        "SELECT sum(rows), sum(new), sum(changed), sum(unchanged), sum(old), sum(deleted), sum(rejected)"
        " FROM processes",
    )
    assert [int(value) for value in sums[0]] == [18, 2, 4, 6, 8, 10, 12]


def test_counts_without_a_column_can_have_more_than_32_bits(sales: MetadataStore, url: str) -> None:
    many = 3_000_000_000
    sales.finish("sales", report(InputReport(IDS[0], {"filtered": many}), step="parse"), "run")
    sales.finish("sales", report(InputReport(IDS[1], {"filtered": 1}), step="parse"), "run")
    sales.finish("sales", report(InputReport(IDS[0], {"quarantined": many}), step="enrich"), "run")
    assert sales.filtered_rows("sales") == many + 1
    loaded = ReportStore(url).loaded(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert {row["input_id"]: row["kept_out"] for row in loaded} == {IDS[0]: many, IDS[1]: 0}


def test_the_next_attempt_supersedes_what_a_killed_one_left(sales: MetadataStore) -> None:
    sales.start("sales", "parse", IDS[:1], "killed")
    sales.start("sales", "parse", IDS[:1], "retry")
    sales.finish("sales", report(InputReport(IDS[0], {"rows": 1})), "retry")
    (process,) = sales.processes("sales")
    assert (process.status, process.attempts, process.run_id) == ("done", 2, "retry")


def test_starting_again_forgets_the_outcome_of_the_attempt_before(sales: MetadataStore) -> None:
    sales.finish("sales", report(InputReport(IDS[0], {"rows": 1}, error=InputError("bad"))), "first")
    sales.start("sales", "parse", IDS[:1], "second")
    (process,) = sales.processes("sales")
    assert (process.status, process.attempts, process.counts) == ("running", 2, {})
    assert (process.error, process.seconds, process.finished_at, process.asset) == (None, None, None, None)


def test_a_run_that_was_overtaken_does_not_overwrite_the_later_one(sales: MetadataStore) -> None:
    check = CheckOutcome("lake/sales", "volume", True, "warn", "7 rows", IDS[0])
    sales.start("sales", "parse", IDS[:1], "slow")
    sales.start("sales", "parse", IDS[:1], "fast")
    sales.finish("sales", report(InputReport(IDS[0], {"rows": 2})), "fast")
    sales.finish("sales", report(InputReport(IDS[0], {"rows": 1}, checks=(check,))), "slow")
    (process,) = sales.processes("sales")
    assert (process.run_id, process.counts) == ("fast", {"rows": 2})
    # what it checked is still true of its run
    assert [result.run_id for result in sales.check_results("sales")] == ["slow"]


def test_a_step_over_the_whole_table_has_one_process_of_the_empty_input(sales: MetadataStore) -> None:
    for run in ("first", "second"):
        sales.start("sales", "recalculate", [""], run)
    assert sales.step_status("sales", "recalculate") == {"": "running"}
    sales.finish("sales", report(step="recalculate"), "second")
    (process,) = sales.processes("sales")
    assert (process.input_id, process.status, process.attempts, process.counts) == ("", "done", 2, {"rows": 7})
    sales.start("sales", "recalculate", [""], "third")
    sales.finish("sales", report(InputReport("", {"rows": 8, "changed": 1}), step="recalculate"), "third")
    (process,) = sales.processes("sales")
    assert (process.attempts, process.counts) == (3, {"rows": 8, "changed": 1})


def test_nothing_to_do_is_nothing_recorded(sales: MetadataStore) -> None:
    sales.start("sales", "parse", [], "run")
    assert sales.register_inputs("sales", []) == []
    sales.remember_arrivals("sales", [])
    sales.profiles.save("sales", "lake/sales", [])
    assert sales.processes("sales") == []


# --- check results and profiles --------------------------------------------------------------------------------------


def test_check_results_are_kept_in_order_with_the_input_they_are_about(sales: MetadataStore) -> None:
    of_table = CheckOutcome("lake/sales", "schema", True, "warn", "as declared")
    of_input = CheckOutcome(
        "lake/sales", "volume", False, "fail", "no rows", None, {"rows": 0, "limit": 1.5, "unit": "row"}
    )
    sales.finish("sales", report(InputReport(IDS[0], checks=(of_input,)), checks=(of_table,)), "run")
    other = replace(of_table, asset="hub/sales", input_id=IDS[1])
    sales.finish("sales", report(InputReport(IDS[1], checks=(other,)), step="refresh", asset="hub/sales"), "run")
    expected = [of_table, replace(of_input, input_id=IDS[0]), other]
    assert [result.outcome for result in sales.check_results("sales")] == expected
    assert [result.step for result in sales.check_results("sales", "hub/sales")] == ["refresh"]


def profile(input_id: str, rows: int = 5) -> Profile:
    number = ColumnProfile("amount", "DECIMAL(10,2)", 1, rows, "-1.50", "99.00", 12.5, 3.25)
    text = ColumnProfile("name", "VARCHAR", 0, 2, "a", "\u00e4", None, None, 1.5, {"\u00e4": rows - 1, "a": 1})
    return Profile("lake/sales", input_id, rows, (number, text))


def test_profiles_come_newest_input_first(sales: MetadataStore) -> None:
    sales.profiles.save("sales", "lake/sales", [profile(input_id) for input_id in ["", *reversed(IDS)]])
    sales.profiles.save("sales", "hub/sales", [replace(profile(IDS[0]), asset="hub/sales")])
    newest_first = [profile(input_id) for input_id in reversed(IDS)]
    assert sales.profiles.newest("sales", "lake/sales") == [*newest_first, profile("")]
    assert sales.profiles.newest("sales", "lake/sales", limit=2) == newest_first[:2]
    assert sales.profiles.newest("sales", "lake/sales", exclude=[IDS[3], "unheard-of"], limit=2) == newest_first[1:3]
    assert sales.profiles.newest("sales", "lake/none") == []


def test_of_the_versions_of_one_file_the_last_one_has_a_profile_in_the_history(sales: MetadataStore) -> None:
    first = INPUTS[1]
    again = replace(first, input_id=f"{first.input_id}-again", digest="0" * 64)
    beside = replace(again, input_id=f"{first.input_id}-beside", origin="/landing/another.csv")
    later = replace(again, input_id=f"{first.input_id}-later", extract_time=INPUTS[2].extract_time)
    sales.register_inputs("sales", [again, beside, later])
    ids = [IDS[0], first.input_id, again.input_id, beside.input_id, later.input_id]
    sales.profiles.save("sales", "lake/sales", [profile(input_id) for input_id in ids])
    found = [item.input_id for item in sales.profiles.newest("sales", "lake/sales")]
    assert found == [later.input_id, beside.input_id, again.input_id, IDS[0]]


def test_the_last_version_of_a_file_is_the_one_that_arrived_last_whichever_was_found_first(
    sales: MetadataStore,
) -> None:
    first = INPUTS[1]
    newer = replace(first, input_id=f"{first.input_id}-0", arrival=first.arrival + dt.timedelta(hours=2))
    older = replace(first, input_id=f"{first.input_id}-9", arrival=first.arrival + dt.timedelta(hours=1))
    for item in (newer, older):
        sales.register_inputs("sales", [item])
    sales.profiles.save("sales", "lake/sales", [profile(item.input_id) for item in (first, newer, older)])
    assert [item.input_id for item in sales.profiles.newest("sales", "lake/sales")] == [newer.input_id]
    # the bytes of the older one come again
    sales.register_inputs("sales", [replace(older, arrival=first.arrival + dt.timedelta(hours=3))])
    assert [item.input_id for item in sales.profiles.newest("sales", "lake/sales")] == [older.input_id]


def test_a_removed_input_has_no_profile_in_the_history_and_the_version_before_it_has_one_again(
    sales: MetadataStore,
) -> None:
    first = INPUTS[1]
    newer = replace(first, input_id=f"{first.input_id}-0", arrival=first.arrival + dt.timedelta(hours=2))
    sales.register_inputs("sales", [newer])
    sales.profiles.save("sales", "lake/sales", [profile(item) for item in (IDS[0], first.input_id, newer.input_id)])
    assert [item.input_id for item in sales.profiles.newest("sales", "lake/sales")] == [newer.input_id, IDS[0]]
    sales.decisions.remove("sales", [newer.input_id])
    assert [item.input_id for item in sales.profiles.newest("sales", "lake/sales")] == [first.input_id, IDS[0]]
    sales.decisions.remove("sales", [first.input_id])
    assert [item.input_id for item in sales.profiles.newest("sales", "lake/sales")] == [IDS[0]]


def test_each_input_comes_with_as_many_profiles_before_it_and_not_with_all(store: MetadataStore) -> None:
    store.contracts.register(source())
    inputs = [an_input(number) for number in range(60)]
    older = replace(
        inputs[7], input_id=f"{inputs[7].input_id}-0", arrival=START - dt.timedelta(days=9), digest="0" * 64
    )
    store.register_inputs("sales", [*inputs, older])
    ids = [item.input_id for item in inputs]
    store.profiles.save("sales", "lake/sales", [profile(item) for item in [*ids, older.input_id] if item != ids[21]])
    store.decisions.remove("sales", [ids[18]])
    missing = {ids[18], ids[21]}
    for asked in ([59], [9], [2], [59, 9], [50, 51, 52], [30, 22], list(range(60))):
        wanted = [ids[number] for number in asked]
        found = store.profiles.before("sales", "lake/sales", wanted, 5)
        assert all(item == profile(item.input_id) for item in found)
        counted = {item.input_id for item in found}
        assert len(counted) == len(found)
        standing = [item for item in ids if item not in missing]
        for item in wanted:
            place = bisect_left(standing, item)
            assert {*standing[max(0, place - 5) : place], *({item} - missing)} <= counted
        assert counted <= {*standing}
        assert len(counted) <= len(asked) * (5 + len(asked))
    assert store.profiles.before("sales", "lake/none", ids[:3], 5) == []
    assert len(_statements(lambda: store.profiles.before("sales", "lake/sales", ids[20:], 5))) <= 5


def test_how_far_a_table_was_forecast_is_kept_until_it_is_written_again(sales: MetadataStore) -> None:
    kept = sales.forecasts.of("sales", "lake/sales")
    assert kept.read() is None
    for state in (bytes(range(256)), b"\x00"):
        kept.write(state)
        assert sales.forecasts.of("sales", "lake/sales").read() == state
    assert sales.forecasts.of("sales", "hub/sales").read() is None


def test_a_newer_profile_of_an_input_replaces_the_older(sales: MetadataStore) -> None:
    sales.profiles.save("sales", "lake/sales", [profile(IDS[0]), profile(IDS[1]), profile("")])
    narrower = replace(profile(IDS[0], rows=6), columns=profile(IDS[0]).columns[1:])
    without_columns = Profile("lake/sales", "", 0, ())
    sales.profiles.save("sales", "lake/sales", [narrower, without_columns])
    assert sales.profiles.newest("sales", "lake/sales") == [profile(IDS[1]), narrower, without_columns]


def test_a_mean_that_is_no_number_is_none(sales: MetadataStore) -> None:
    column = replace(profile("").columns[0], mean=math.inf, stddev=math.nan)
    sales.profiles.save("sales", "lake/sales", [Profile("lake/sales", IDS[0], 1, (column,))])
    (kept,) = sales.profiles.newest("sales", "lake/sales")
    assert kept.columns == (replace(column, mean=None, stddev=None),)


# --- the database ----------------------------------------------------------------------------------------------------


def test_a_database_that_was_not_migrated_says_what_to_do(empty_url: str) -> None:
    with pytest.raises(StorageError, match="next: migrate the metadata structure first"):
        MetadataStore(empty_url).inputs("sales")


def test_a_year_of_inputs_takes_a_handful_of_statements(store: MetadataStore) -> None:
    store.contracts.register(source())
    inputs = [an_input(number) for number in range(365)]
    ids = [item.input_id for item in inputs]
    checks = tuple(CheckOutcome("lake/sales", kind, True, "warn", "fine") for kind in ("volume", "distribution"))
    done = report(*(InputReport(input_id, {"rows": 5}, checks=checks) for input_id in ids))
    profiles = [profile(input_id) for input_id in ids]
    for call in (
        lambda: store.register_inputs("sales", inputs),
        lambda: store.remember_arrivals("sales", [Arrival(item.origin, 1, START, "", None, START) for item in inputs]),
        lambda: store.start("sales", "parse", ids, "run"),
        lambda: store.finish("sales", done, "run"),
        lambda: store.profiles.save("sales", "lake/sales", profiles),
        lambda: store.profiles.newest("sales", "lake/sales", exclude=ids[:30]),
    ):
        assert len(_statements(call)) <= 8


def test_many_transactions_in_a_row_use_one_connection_and_see_what_is_written_meanwhile(sales: MetadataStore) -> None:
    opened: list[int] = []

    def listen(_dialect, _record, _arguments, _options) -> None:
        opened.append(threading.get_ident())

    event.listen(Engine, "do_connect", listen)
    try:
        with sales.kept_open(), sales.kept_open():
            known = len(sales.inputs("sales"))
            # only another thread takes a connection of its own
            sales.register_inputs("sales", [an_input(70)])
            assert len(sales.inputs("sales")) == known + 1
            with ThreadPoolExecutor(1) as other:
                assert len(other.submit(sales.inputs, "sales").result()) == known + 1
        assert len(opened) == 2
        sales.inputs("sales")
        assert len(opened) == 3
    finally:
        event.remove(Engine, "do_connect", listen)


@pytest.mark.postgres
@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_a_connection_that_the_server_closed_is_opened_again(sales: MetadataStore, url: str) -> None:
    """As after a restart of the server while a step runs."""
    others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
    with sales.kept_open():
        known = len(sales.inputs("sales"))
        with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
            ended = connection.execute(sa.text(f"{others} AND pid <> pg_backend_pid()")).scalar_one()
        sales.register_inputs("sales", [an_input(70)])
        assert ended == 1
        assert len(sales.inputs("sales")) == known + 1


def test_a_database_that_cannot_be_reached_is_told_when_a_connection_is_kept() -> None:
    store = MetadataStore("postgresql://u:hunter2@127.0.0.1:9/db")
    with pytest.raises(StorageError, match="connecting to the metadata") as caught, store.kept_open():
        pass
    assert "hunter2" not in str(caught.value)


def _statements(call) -> list[str]:
    seen: list[str] = []

    def listen(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        call()
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    return seen


def _rows(url: str, text: str) -> list[sa.Row]:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return list(connection.execute(sa.text(text)))
