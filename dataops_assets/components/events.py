"""Translate the report of a step for Dagster: metadata of materializations, and check results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_assets.components.graph import StepNode, column_descriptions, column_lineage, column_tags, table_columns
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError
from dataops_assets.masking import cut_secrets
from dataops_assets.report import REMOVED, CheckKind, CheckOutcome, Input, InputReport, StepReport
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.steps.source_context import SourceContext

HUB_VERSIONS = "hub_versions"
TABLE_VERSION = "table_version"
"""Metadata key of a table downstream of the hubs: versions it read by asset key, None for a table without rows."""

DATA_VERSION = "dagster/data_version"
"""Tag of an event with the version of the asset's data, as Dagster names it."""

REJECTED = "rejected"
"""Key of the count of rejected rows."""

ROWS = "rows"
"""Key of the count of an input's rows in the table of a step."""

RUN = "run: "
"""How the label of a number begins that is of a whole run, and not of one input."""

# notes of a step that tell of its table, not of what the run did
_OF_TABLE = ("inputs_in_hub",)
_SHOWN = 5
_LISTED = 100


@functools.cache
def asset_key(key: str) -> dg.AssetKey:
    """Return the Dagster key of an asset key that is given as text, such as 'hub/sales'."""
    return dg.AssetKey(key.split("/"))


def told_version(event: dg.AssetMaterialization | None) -> int | None:
    """Return the table version that a materialization names; None if there is none."""
    value = event.metadata.get(TABLE_VERSION) if event is not None else None
    return int(str(value.value)) if value is not None else None


def table_metadata(context: SourceContext, report: StepReport) -> dict[str, Any]:
    """Return the metadata of a step's table as it is after the run: rows, version, URI, versions of what it read."""
    metadata: dict[str, Any] = {"dagster/uri": f"{context.environment.storage}/{report.asset}"}
    if report.rows is not None:
        metadata["dagster/row_count"] = report.rows
    if report.version is not None:
        metadata[TABLE_VERSION] = report.version
    if report.read:
        metadata[HUB_VERSIONS] = dict(report.read)
    return metadata | {name: value for name, value in report.notes.items() if name in _OF_TABLE}


def version_tags(node: StepNode, report: StepReport) -> dict[str, str]:
    """Return the tags of a materialization: the version of its data is the id of the table's commit.

    A step without a table (`ingest`) stores bytes that never change, so its code version is enough.
    """
    return {DATA_VERSION: report.commit_id or node.code_version}


def run_metadata(node: StepNode, report: StepReport) -> dict[str, Any]:
    """Return the numbers of the run over all its inputs: each label begins with `RUN`."""
    metadata: dict[str, Any] = {f"{RUN}seconds": round(report.seconds, 3)}
    if node.is_per_input:
        metadata[f"{RUN}inputs"] = len(report.inputs)
    if report.receipts:
        metadata[f"{RUN}receipts"] = dg.MetadataValue.table(
            records=[
                dg.TableRecord(
                    {
                        "rule": item.rule,
                        "version": item.version,
                        "rows_seen": item.rows_seen,
                        "rows_changed": item.rows_changed,
                    }
                )
                for item in report.receipts
            ],
            schema=dg.TableSchema(
                [
                    dg.TableColumn("rule"),
                    dg.TableColumn("version"),
                    dg.TableColumn("rows_seen", "int"),
                    dg.TableColumn("rows_changed", "int"),
                ]
            ),
        )
    return metadata | {f"{RUN}{name}": value for name, value in report.notes.items() if name not in _OF_TABLE}


def column_metadata(source: Source, rules: CompiledRules, node: StepNode, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the column schema (`types`: SQL type by name, with descriptions) and the column lineage of a table."""
    if not types:
        return {}
    descriptions, tags = column_descriptions(source), column_tags(source)
    columns = [
        _column(name, kind, descriptions.get(name) or None, tuple(tags.get(name, {}).items()))
        for name, kind in types.items()
    ]
    lineage = column_lineage(source, rules, node, list(types))
    deps = {
        name: [dg.TableColumnDep(asset_key(table), column) for table, column in sorted(origins)]
        for name, origins in lineage.items()
    }
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/column_lineage": dg.TableColumnLineage(deps),
    }


@functools.lru_cache(maxsize=1_000)
def _column(name: str, kind: str, description: str | None, tags: tuple[tuple[str, str], ...]) -> dg.TableColumn:
    """Return a column of a table; six tables of a source have the same one."""
    return dg.TableColumn(name, kind, description, tags=dict(tags))


def undeclared_columns(
    source: Source, rules: CompiledRules, node: StepNode, types: Mapping[str, str]
) -> dict[str, Any]:
    """Return the column metadata of a table that has other columns than its asset's spec declares; empty otherwise.

    An event repeats nothing that the spec declares: most of an event's size would be columns and their lineage.
    """
    return {} if dict(types) == table_columns(source, node) else column_metadata(source, rules, node, types)


def input_metadata(item: InputReport, known: Input | None) -> dict[str, Any]:
    """Return the metadata of one input: counts, rows kept out of the hub by rule, origin and times."""
    metadata: dict[str, Any] = dict(item.counts) | kept_out([item])
    if ROWS in item.counts:
        metadata["dagster/partition_row_count"] = item.counts[ROWS]
    if known is not None:
        metadata |= {
            "origin": known.origin,
            "extract_time": dg.MetadataValue.timestamp(known.extract_time),
            "arrival": dg.MetadataValue.timestamp(known.arrival),
        }
    return metadata


def taken_out(report: StepReport) -> list[InputReport]:
    """Return the inputs that the step took out of its table because they are held now.

    The delete guard judges an input of the hub again when the inputs before it change. The green event of the input's
    partition is then not true any more, so a newer one replaces it.
    """
    return [item for item in report.failures if item.counts.get(REMOVED)]


def held_metadata(item: InputReport, known: Input | None) -> dict[str, Any]:
    """Return the metadata of an input that was taken out of the hub: the reason, and what to do next."""
    return input_metadata(item, known) | {"held": str(item.error)}


def in_order(reports: Sequence[InputReport], known: Mapping[str, Input]) -> list[InputReport]:
    """Return the reports in the order of their inputs, the newest last."""
    by_id = {item.input_id: item for item in reports}
    found = [by_id.pop(item.input_id) for item in sorted(known.values()) if item.input_id in by_id]
    return [*found, *by_id.values()]


def rejected_metadata(reports: Sequence[InputReport]) -> dict[str, Any]:
    """Return the metadata of the quarantine: the number of rejected rows, and rows kept out by rule."""
    return {"rejected rows": total_counts(reports).get(REJECTED, 0)} | kept_out(reports)


def total_counts(reports: Sequence[InputReport]) -> dict[str, int]:
    """Return the sums of the counts of several inputs."""
    return _added_up(item.counts for item in reports)


def kept_out(reports: Sequence[InputReport]) -> dict[str, Any]:
    """Return a table of the rows that each rule keeps out of the hub; empty if there are none."""
    totals = _added_up(item.kept_out for item in reports)
    if not totals:
        return {}
    ranked = sorted(totals.items(), key=lambda rule: (-rule[1], rule[0]))
    schema = dg.TableSchema([dg.TableColumn("rule"), dg.TableColumn("rows", "int")])
    records = [dg.TableRecord({"rule": name, "rows": count}) for name, count in ranked[:_LISTED]]
    return {"kept out by": dg.MetadataValue.table(records, schema)}


def _added_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for some in counts:
        for name, value in some.items():
            totals[name] = totals.get(name, 0) + value
    return totals


def check_results(
    report: StepReport,
    declared: Mapping[str, Mapping[CheckKind, bool]],
    linked: Callable[[str, str], Mapping[str, Any]] | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """Return one result for each check that is declared (by asset key) and has outcomes in the report.

    `linked` returns more metadata of a failed check, by asset key and check.

    A check of several inputs fails if it fails for one of them; the description and a table name the failed inputs.
    """
    by_check: dict[tuple[str, CheckKind], list[CheckOutcome]] = {}
    for outcome in report.outcomes:
        if outcome.check in declared.get(outcome.asset, {}):
            by_check.setdefault((outcome.asset, outcome.check), []).append(outcome)
    for (asset, check), outcomes in by_check.items():
        failed = [outcome for outcome in outcomes if not outcome.passed]
        is_error = any(outcome.severity == "fail" for outcome in failed)
        yield dg.AssetCheckResult(
            asset_key=asset_key(asset),
            check_name=check,
            passed=not failed,
            severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
            description=_description(outcomes, failed),
            metadata={**_numbers(outcomes, failed), **(linked(asset, check) if linked and failed else {})},
        )


def evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Convert a check's result into an event that is reported outside of a run; there it blocks nothing."""
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key or dg.AssetKey([]),
        check_name=result.check_name or "",
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
        blocking=False,
    )


def _description(outcomes: Sequence[CheckOutcome], failed: Sequence[CheckOutcome]) -> str:
    if len(outcomes) == 1:
        return outcomes[0].explanation
    if not failed:
        return f"all {len(outcomes)} inputs pass; the last: {outcomes[-1].explanation}"
    shown = "; ".join(f"{item.input_id or 'table'}: {item.explanation}" for item in failed[:_SHOWN])
    rest = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return f"{len(failed)} of {len(outcomes)} inputs fail: {shown}{rest}"


def _numbers(outcomes: Sequence[CheckOutcome], failed: Sequence[CheckOutcome]) -> dict[str, Any]:
    charts = [dg.MetadataValue.md(item.chart) for item in outcomes if item.chart]
    chart = {"control chart": charts[-1]} if charts else {}
    if len(outcomes) == 1:
        found: dict[str, Any] = {name: value for name, value in outcomes[0].numbers.items() if value is not None}
        return chart | found | ({"input": outcomes[0].input_id} if outcomes[0].input_id else {})
    metadata: dict[str, Any] = chart | {"inputs": len(outcomes), "failing_inputs": len(failed)}
    if failed:
        metadata["failures"] = dg.MetadataValue.table(
            records=[
                dg.TableRecord({"input": item.input_id or "", "explanation": item.explanation})
                for item in failed[:_LISTED]
            ],
            schema=dg.TableSchema([dg.TableColumn("input"), dg.TableColumn("explanation")]),
        )
    return metadata


def failure_of(error: DataOpsError) -> dg.Failure:
    """Return the failure of a job that an error ended; no cause that Dagster shows has a secret."""
    cut_secrets(error)
    return dg.Failure(description=str(error), allow_retries=False)


def failure(
    source: Source, step: str, reports: Sequence[InputReport], known: Mapping[str, Input], total: int
) -> dg.Failure:
    """Return the failure of a step. It names every input that failed, with the error."""
    named = [(item, known.get(item.input_id)) for item in reports]
    lines = [
        f"{item.input_id or 'the table'}{f' ({arrival.origin})' if arrival else ''}: {item.error}"
        for item, arrival in named
    ]
    what = f"{len(reports)} of {total} inputs" if total > 1 else (lines[0].partition(":")[0])
    description = f"{step} of {source.name}: {what} failed and will not be processed further.\n" + "\n".join(
        lines[:_LISTED]
    )
    return dg.Failure(
        description=description,
        metadata={
            "failed_inputs": dg.MetadataValue.table(
                records=[
                    dg.TableRecord(
                        {
                            "input": item.input_id,
                            "origin": arrival.origin if arrival else "",
                            "error": type(item.error).__name__,
                            "explanation": str(item.error),
                        }
                    )
                    for item, arrival in named[:_LISTED]
                ],
                schema=dg.TableSchema([dg.TableColumn(name) for name in ("input", "origin", "error", "explanation")]),
            )
        },
        # retries were made already, if a retry could help
        allow_retries=False,
    )
