"""Every statement of docs/refresh.md has a test, and this table says which."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "refresh.md"
LAW = "properties/test_law_of_the_hub.py::test_hub_is_a_function_of_its_set_of_inputs"
MERGED_LAW = "properties/test_law_of_the_hub.py::test_merged_values_of_the_hub_are_a_function_of_its_set_of_inputs"
BEGINS_LAW = "properties/test_law_of_the_hub.py::test_versions_of_the_hub_begin_where_their_rows_say"
BEGINS = "integration/test_begin_of_versions.py::"
NEWEST = BEGINS + "test_the_newest_extract_says_what_was_valid_from_the_time_in_its_row_on"
MERGED = "integration/test_merged_values.py::"
LISTS = MERGED + "test_lists_are_united"
COUNTERS = MERGED + "test_a_counter_that_begins_anew_has_a_total"
TYPES = "integration/test_refresh_types.py::"
KEYS = "integration/test_keys_and_orders.py::"
GUARD = "integration/test_delete_guard.py::"
DECIDES = "integration/test_verdicts_decide.py::"
PERIODS = "integration/test_declared_periods.py::"
GROUPS = "integration/test_group_deletes.py::"
MARKERS = "integration/test_delete_markers.py::"
REJECTED = "integration/test_rejected_keys.py::"
GUARD_LAW = "properties/test_law_of_the_guard.py::test_what_is_held_is_a_function_of_the_set_of_inputs"
ANY_ORDER = "integration/test_guard_in_any_order.py::"
QUARANTINE = "integration/test_quarantine.py::"
ARRIVALS = "integration/test_arrivals.py::"
BY_HAND = "integration/test_by_hand.py::"
CHANGED_RULES = "integration/test_changed_rules.py::"
UNDONE = "integration/test_left_undone.py::"
RETENTION = "faults/test_retention.py::"
SETTLED = "properties/test_law_of_retention.py::test_settled_inputs_mean_to_the_hub_what_they_meant"
TWO_KEYS, HIGHER = KEYS + "test_keys_that_are_two", KEYS + "test_the_higher_order_wins_whichever_comes_first"

# by the first words of each row, point and paragraph
PROVED_BY: dict[str, tuple[str, ...]] = {
    "The hub of a source is": (LAW, "faults/test_kill.py::test_a_step_killed_at_any_write_or_commit_is_run_again"),
    "`full`": (LAW,),
    "`key`": (LAW,),
    "`timestamp`": (LAW,),
    "`sequence`": (LAW, TYPES + "test_the_newest_input_owns_the_overlap_and_the_older_keeps_its_remainder"),
    "`append`": (
        "properties/test_law_of_the_hub.py::test_append_keeps_every_row_of_every_input_once",
        ARRIVALS + "test_of_inputs_with_one_content_append_keeps_the_rows_of_the_first",
    ),
    "`custom`": (LAW, TYPES + "test_a_custom_input_replaces_what_its_predicate_says"),
    "A row that equals the present": (LAW, TYPES + "test_history_of_a_range_keeps_what_was_replaced"),
    "An input without rows owns and": (
        TYPES + "test_an_empty_input_owns_nothing",
        TYPES + "test_a_custom_input_without_rows_replaces_nothing",
        PERIODS + "test_an_input_without_rows_that_comes_first_still_decides",
    ),
    "An input is one content at": (
        LAW,
        "unit/connections/test_discovery_law.py::test_nothing_is_missed_or_taken_twice",
        "unit/connections/test_python_hook.py::test_an_extract_arrives_when_it_is_first_recorded",
    ),
    "Two inputs can have one extract": (
        LAW,
        "integration/test_ties.py::test_a_tie_that_decides_is_told_with_how_many_keys_and_the_inputs",
    ),
    "`ties` decides between rows of one": (
        LAW,
        MERGED_LAW,
        "integration/test_declaration_errors.py::test_a_wrong_declaration_says_where_and_why",
    ),
    "With `history`, a version is valid": (
        LAW,
        TYPES + "test_delete_return_delete_are_versions_whatever_came_first",
    ),
    "A version begins at its order:": (BEGINS_LAW,),
    "Which versions there are": (BEGINS_LAW, BEGINS + "test_versions_begin_at_the_time_in_their_rows_in_any_order"),
    "The newest extract decides.": (BEGINS_LAW, NEWEST),
    "A version that never was valid": (BEGINS_LAW, NEWEST),
    "A row that comes back": (BEGINS_LAW, NEWEST),
    "A row without a time": (BEGINS_LAW, BEGINS + "test_a_row_without_a_time_begins_at_the_extract_time"),
    "`s_order`": (BEGINS_LAW,),
    "A log can tell that a": (LAW, GROUPS + "test_rows_that_come_before_a_marker_are_deleted"),
    "Place in the order.": (
        LAW,
        GROUPS + "test_rows_that_come_before_a_marker_are_deleted",
        GROUPS + "test_a_removed_marker_gives_the_rows_back",
    ),
    "No row of its key.": (GROUPS + "test_rows_that_come_before_a_marker_are_deleted",),
    "History.": (LAW,),
    "Counts.": (GROUPS + "test_a_removed_marker_gives_the_rows_back",),
    "Cost.": (GROUPS + "test_rows_that_come_before_a_marker_are_deleted",),
    "The rows of a daily file": (
        LAW,
        PERIODS + "test_a_day_that_comes_again_replaces_the_whole_day",
        "unit/steps/test_input_periods.py::test_a_moment_is_in_the_period_that_the_calendar_shows",
    ),
    "Periods in the name of a file.": (
        LAW,
        PERIODS + "test_a_name_that_tells_both_ends_is_enough_for_an_input_without_rows",
        "unit/steps/test_input_periods.py::test_a_name_without_a_period_is_refused",
    ),
    "Periods in a manifest.": (
        LAW,
        "integration/test_file_manifests.py::test_a_day_without_rows_is_told_by_its_manifest",
    ),
    "A row outside the period": (PERIODS + "test_a_day_that_comes_again_replaces_the_whole_day",),
    "Rows without a time.": (PERIODS + "test_the_name_of_the_day_can_be_the_only_one",),
    "Periods that the rows name.": (TYPES + "test_rows_that_name_periods_replace_them_also_several_of_one_file",),
    "Deliveries that are empty by mistake": (GUARD_LAW,),
    "A changed period": ("unit/steps/test_input_periods.py::test_other_periods_need_a_rebuild",),
    "The time zone stays.": (
        "integration/test_zone_of_inputs.py::test_the_zone_of_extract_times_stays_and_another_zone_is_refused",
    ),
    "With a key, a column of": (LAW,),
    "`ignore_changes_in: [a]`": (LAW, MERGED + "test_a_change_in_place_opens_no_version"),
    "`update_in_place: [a]`": (MERGED_LAW, MERGED + "test_a_change_in_place_opens_no_version"),
    "`merge: {a: last}`": (
        MERGED_LAW,
        MERGED + "test_a_null_changes_nothing_and_a_late_update_lands_column_by_column",
        MERGED + "test_rules_that_are_kept_current_read_merged_values",
    ),
    "`merge: {a: first}`": (MERGED_LAW, MERGED + "test_values_are_taken_over_all_rows_of_a_key"),
    "`merge: {a: greatest}`, `least`": (MERGED_LAW, MERGED + "test_values_are_taken_over_all_rows_of_a_key"),
    "`merge: {a: sum}`": (
        MERGED_LAW,
        MERGED + "test_values_are_taken_over_all_rows_of_a_key",
        "integration/test_declaration_errors.py::test_a_wrong_declaration_says_where_and_why",
    ),
    "`merge: {a: counter}`": (MERGED_LAW, COUNTERS),
    "`merge: {a: union}`": (MERGED_LAW, LISTS),
    "Which rows count.": (
        MERGED_LAW,
        MERGED + "test_two_partial_rows_of_one_instant_both_count",
        MERGED + "test_values_begin_anew_after_a_deletion",
    ),
    "`when`": (MERGED_LAW, MERGED + "test_a_condition_says_when_a_null_is_given"),
    '`"*"`': (MERGED_LAW,),
    "Both settings.": (MERGED_LAW,),
    "Counters.": (MERGED_LAW, COUNTERS),
    "Lists.": (MERGED_LAW, LISTS),
    "Columns that are absent.": (MERGED + "test_rules_that_are_kept_current_read_merged_values",),
    "Rules.": (
        MERGED + "test_rules_that_are_kept_current_read_merged_values",
        MERGED + "test_values_are_taken_over_all_rows_of_a_key",
        "properties/test_law_of_verdicts.py::test_the_hub_is_a_function_of_the_rows_that_pass",
        "integration/test_declaration_errors.py::test_a_wrong_declaration_says_where_and_why",
    ),
    "Changed settings": (MERGED + "test_changed_settings_of_a_column_need_a_rebuild",),
    "text": (TWO_KEYS, HIGHER),
    "integer, decimal": (TWO_KEYS, HIGHER),
    "double": (TWO_KEYS, HIGHER, KEYS + "test_zero_and_minus_zero_are_one_key"),
    "date, timestamp": (TWO_KEYS, HIGHER),
    "timestamptz": (TWO_KEYS, HIGHER),
    "Several key columns make one key": (
        TYPES + "test_several_key_columns_make_one_key_without_confusion",
        KEYS + "test_a_key_without_a_comparable_value_stops_its_input_alone",
        KEYS + "test_an_order_without_a_comparable_value_stops_its_input",
        TYPES + "test_a_null_in_the_range_stops_the_input_and_says_where",
        "properties/test_parse_conversion.py::test_what_is_no_value_of_the_type_is_not_made_one",
    ),
    "`delete_when` and `delete_where` are in the": (
        TYPES + "test_a_delete_marker_that_cannot_be_computed_does_not_hold",
        TYPES + "test_a_predicate_that_cannot_be_computed_does_not_hold",
    ),
    "a file is late": (
        LAW,
        "integration/test_sensors.py::test_a_late_file_is_a_partition_of_its_own_and_lands_where_it_belongs",
    ),
    "the same file comes twice": (
        "integration/test_sensors.py::test_a_duplicate_is_told_once_and_takes_no_run",
        "integration/test_landing.py::test_a_file_and_its_packed_copy_are_one_input_of_append",
    ),
    "a file is gone before it was ingested": (
        "integration/test_landing.py::test_bytes_that_were_gone_at_ingest_are_taken_when_they_arrive_again",
    ),
    "a file is sent again under its own name, corrected": (ARRIVALS + "test_the_version_that_arrived_last_wins",),
    "the earlier content comes back": (ARRIVALS + "test_the_version_that_arrived_last_wins",),
    "a validation keeps a row out of the hub": (
        TYPES + "test_a_quarantined_row_leaves_the_version_before_it",
        TYPES + "test_a_quarantined_row_of_a_full_extract_is_present",
        "properties/test_law_of_verdicts.py::test_the_hub_is_a_function_of_the_rows_that_pass",
        DECIDES + "test_a_row_that_is_kept_out_hides_no_valid_one_of_its_input",
        DECIDES + "test_a_late_deletion_is_not_validated",
        DECIDES + "test_a_row_that_changes_nothing_stops_its_input_as_well",
    ),
    "rows of an input cannot be parsed": (
        QUARANTINE + "test_rows_are_listed_with_rule_value_and_origin",
        QUARANTINE + "test_a_repaired_extract_deletes_again_and_is_guarded",
        REJECTED + "test_a_rejected_row_is_present_and_the_absence_of_others_deletes",
        REJECTED + "test_a_key_that_is_rejected_and_then_missing_is_deleted",
        REJECTED + "test_in_a_range_only_what_a_rejected_row_may_be_stays",
    ),
    "the key of such a row cannot be read": (
        REJECTED + "test_deletes_that_are_suspended_are_told_with_since_when_and_how_many",
        REJECTED + "test_in_a_range_stale_rows_are_those_that_the_newest_covers",
        REJECTED + "test_a_setting_says_that_unreadable_rows_do_not_matter",
    ),
    "an extract is empty or cut short": (
        GUARD + "test_a_truncated_extract_is_held_and_says_how_many_and_which",
        GUARD + "test_an_empty_extract_is_held",
        GUARD + "test_inputs_after_a_held_one_are_taken_without_it",
        ANY_ORDER + "test_a_header_alone_is_held_however_small_the_table",
    ),
    "a delete marker has no other values": (
        MARKERS + "test_a_marker_needs_its_key_and_its_order_alone",
        MARKERS + "test_what_a_marker_could_not_say_is_told",
    ),
    "a key or order is null or NaN": (KEYS + "test_a_key_without_a_comparable_value_stops_its_input_alone",),
    "an input is parsed again, under a corrected contract": (
        LAW,
        TYPES + "test_an_input_parsed_to_other_rows_takes_back_what_the_first_ones_did",
    ),
    "a run crashes": ("faults/test_kill.py::test_a_step_killed_at_any_write_or_commit_is_run_again",),
    "a run dies as a whole": (
        "integration/test_sensors_law.py::test_an_input_that_kills_its_runs_is_found_by_halves_and_no_other_is_given_up",
        "integration/test_sensors_law.py::test_runs_that_die_before_a_step_begins_count_against_nobody",
        "integration/test_sensors.py::test_a_fault_that_may_pass_is_tried_again_but_not_for_ever",
    ),
    "a recalculation or a dbt model is killed, or fails": (
        UNDONE + "test_what_a_killed_run_left_is_asked_for_again_at_once",
        UNDONE + "test_deaths_that_repeat_are_asked_for_later_and_later_and_said_so",
        UNDONE + "test_a_failure_is_a_verdict_that_is_looked_at_again_much_later",
    ),
    "the disk is full or the object store is unavailable": (
        "faults/test_full_disk.py::test_a_full_disk_stops_a_step_and_harms_nothing",
        "faults/test_store_away.py::test_a_store_that_goes_away_in_any_step_is_named_and_nothing_is_lost",
    ),
    "two runs change a hub at once": ("faults/test_two_writers.py::test_the_loser_of_a_race_tries_again",),
    "the key, order or tracked columns are changed in YAML": (
        TYPES + "test_what_decides_the_hub_is_changed_by_a_rebuild",
        TYPES + "test_a_rebuild_never_leaves_an_input_out",
    ),
    "a snapshot rule or a validation is changed in YAML": (
        CHANGED_RULES + "test_a_changed_rule_and_what_depends_on_it_are_applied_by_the_next_refresh",
    ),
    "a step of an input went wrong, or its result is doubted": (
        "faults/test_reset.py::test_a_step_that_is_reset_is_made_anew",
        "faults/test_reset.py::test_killed_after_it_forgot_the_next_run_goes_on_from_there",
    ),
    "an input was wrong": (LAW, TYPES + "test_removing_an_input_lets_the_others_fill_the_gap"),
    "`dataops rebuild`, `remove`, `recalculate` and `reset`": (
        "integration/test_instance_by_hand.py::test_the_instance_is_found_below_the_home_from_anywhere",
        "integration/test_instance_by_hand.py::test_without_an_instance_a_command_says_so_and_changes_nothing",
        BY_HAND + "test_recalculation_tells_of_both_tables",
        BY_HAND + "test_a_rebuild_tells_of_every_input",
        BY_HAND + "test_a_removal_tells_of_the_input_that_is_gone",
        BY_HAND + "test_a_reset_tells_of_every_step",
    ),
    "Compared with earlier inputs.": (
        GUARD_LAW,
        ANY_ORDER + "test_a_truncated_extract_is_held_whoever_came_first",
        GUARD + "test_a_row_that_never_was_in_the_hub_is_not_lost",
    ),
    "Loss.": (
        GUARD_LAW,
        GUARD + "test_a_range_delivered_again_with_every_value_revised_loses_nothing",
        GUARD + "test_the_share_is_of_what_an_input_covers",
    ),
    "Limits.": (
        GUARD + "test_the_limit_is_declared",
        GUARD + "test_an_extract_that_leaves_nothing_is_held_unless_all_may_go",
        GUARD + "test_limits_that_are_changed_let_what_is_held_be_judged_again",
    ),
    "Judged again.": (
        GUARD_LAW,
        "properties/test_law_of_the_guard.py::test_rows_that_are_kept_out_decide_no_verdict_whenever_they_are_found",
        ANY_ORDER + "test_what_is_in_the_hub_is_taken_out_when_what_came_before_it_comes_late",
    ),
    "Approved.": (
        GUARD_LAW,
        GUARD + "test_a_held_input_stays_held_in_refresh_and_goes_on_once_approved",
        ANY_ORDER + "test_an_approval_belongs_to_the_input",
        "integration/test_status.py::test_what_is_held_failed_rejected_or_kept_out_is_told_with_its_next_step",
        ANY_ORDER + "test_what_is_removed_is_not_judged_any_more",
    ),
    "`dataops vacuum [source] [--keep-days 7]` removes": (
        RETENTION + "test_the_command_settles_and_then_vacuums",
        RETENTION + "test_retention_killed_anywhere_is_run_again",
        "faults/test_two_writers.py::test_a_vacuum_while_runs_go_on",
    ),
    "Versions.": (
        "faults/test_vacuum.py::test_versions_within_the_retention_period_stay_readable_and_others_go",
        "faults/test_vacuum.py::test_the_log_is_shortened_to_the_checkpoint_that_the_oldest_kept_version_needs",
        "faults/test_vacuum.py::test_what_a_running_writer_has_written_is_kept",
    ),
    "Inputs.": (
        RETENTION + "test_what_is_superseded_goes_and_the_hub_stays_whatever_follows",
        RETENTION + "test_of_full_extracts_the_newest_settled_one_is_enough",
    ),
    "The hub is the same as": (SETTLED,),
    "Settled inputs cannot change: an input": (SETTLED, RETENTION + "test_what_is_settled_cannot_be_changed_any_more"),
    "A deleted key stays deleted, because": (SETTLED,),
    "A rebuild of the hub starts": (SETTLED, RETENTION + "test_a_rebuild_under_another_key_takes_what_is_left"),
    "Inputs on their way to the": (
        RETENTION + "test_what_was_parsed_again_waits_for_its_refresh",
        RETENTION + "test_what_is_on_its_way_is_not_settled_past",
        RETENTION + "test_an_extract_time_in_the_future_settles_nothing",
    ),
    "`superseded_inputs` is refused at load with": (RETENTION + "test_a_type_that_needs_all_its_inputs_says_so",),
}


def statements() -> list[str]:
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = []
    for block in (block for block in re.split(r"\n\n+", text) if block.strip() and not block.startswith("#")):
        if block.startswith("|"):
            found += [row.split("|")[1].strip() for row in block.splitlines()[2:]]
            continue
        for point in re.split(r"^\* ", block, flags=re.MULTILINE):
            words = " ".join(point.split())
            bold = re.match(r"\*\*(.+?)\*\*", words)
            found += [bold[1] if bold else " ".join(words.split()[:6])] if words else []
    return found


@functools.cache
def proofs_in(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_statement_is_in_the_table() -> None:
    assert statements() == list(PROVED_BY)


@pytest.mark.parametrize("statement", PROVED_BY)
def test_what_proves_a_statement_is_there(statement: str) -> None:
    for proof in PROVED_BY[statement]:
        path, _, name = proof.partition("::")
        assert name in proofs_in(path)
