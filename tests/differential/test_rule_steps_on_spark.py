"""Enrichment and recalculation do on Spark what their own tests ask of them: those are run again, on Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
import refresh_scenarios
import rule_steps
import test_column_names
import test_enrich
import test_recalculate

from dataops_assets.engines.spark import SparkEngine

AGAIN = [
    test_enrich.test_a_failed_validation_stops_only_its_input,
    test_enrich.test_an_ambiguous_second_hop_names_the_path,
    test_enrich.test_dates_are_what_they_were,
    test_enrich.test_look_ups_see_only_current_versions,
    test_recalculate.test_a_changed_row_changes_only_the_rows_that_see_it,
    test_recalculate.test_self_relations_are_kept_current,
    test_recalculate.test_a_row_follows_the_version_that_was_valid_at_its_moment,
    test_recalculate.test_a_changed_row_of_many_touches_the_rows_that_point_to_it_now_or_before,
    test_recalculate.test_an_ambiguous_period_is_told_with_its_condition,
    test_recalculate.test_floating_point_noise_is_no_change,
]


@pytest.mark.parametrize("again", AGAIN, ids=lambda again: again.__name__.removeprefix("test_"))
def test_on_spark(again, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rule_steps, "DuckDBEngine", lambda _: spark)
    again(tmp_path)


@pytest.mark.parametrize("name", ["a b", "x.y", 'quo"te', "tick`", "\U0001f600"])
def test_hostile_names(name: str, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rule_steps, "DuckDBEngine", lambda _: spark)
    test_enrich.test_hostile_names_of_columns_and_rules(tmp_path, name)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_any_name_are_parsed(
    kind: str, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(refresh_scenarios, "DuckDBEngine", lambda _: spark)
    test_column_names.test_columns_of_any_other_name_are_parsed_from_every_format(tmp_path, kind)


def test_columns_of_any_name_go_through_all_steps(
    spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(refresh_scenarios, "DuckDBEngine", lambda _: spark)
    test_column_names.test_columns_of_any_other_name_go_through_all_steps(tmp_path, history=True)
