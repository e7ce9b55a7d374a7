"""The asset of the report, and the schedule that makes it each morning.

Annotations are not postponed in this module: Dagster reads those of an asset's function.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.events import failure_of
from dataops_assets.components.platform import Platform
from dataops_assets.components.warehouse_results import warehouse_tables
from dataops_assets.config.data_products import DataProducts
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.reporting.making import make_report, save_results
from dataops_assets.reporting.page import page
from dataops_assets.reporting.scores import mean_score
from dataops_assets.storage import durable

ASSET = ("platform", "quality_report")
"""The key of the asset."""

_EVERY_MORNING = "0 6 * * *"
_FILE = "quality.html"


def report_asset(
    sources: Mapping[str, Source], declared: DataProducts, link: str, made: dg.Definitions
) -> dg.AssetsDefinition:
    """Return the asset that writes the report as one HTML page into the folder `reports` of the home.

    `made` has the assets and checks of all tables.
    """

    @dg.asset(
        key=dg.AssetKey(ASSET),
        group_name="platform",
        kinds={"html"},
        description="Service levels, quality scores, incidents and costs of all data products on one page.",
        required_resource_keys={PLATFORM},
    )
    def quality_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        platform: Platform = getattr(context.resources, PLATFORM)
        try:
            # the first use makes or upgrades the tables
            platform.metadata.migrate()
            tables = warehouse_tables(made, context.instance, sources)
            now = dt.datetime.now(dt.UTC)
            report = make_report(platform.environment.metadata_url, sources, declared, now, link, tables)
            target = Path(platform.environment.home) / "reports" / _FILE
            _write(target, page(report))
            save_results(platform.environment.metadata_url, report)
        except DataOpsError as error:
            raise failure_of(error) from error
        metadata: dict[str, Any] = {"page": dg.MetadataValue.path(target)}
        for name, (product, levels) in report.products.items():
            score = mean_score(report.scores, product.sources)
            missed = [level.name for level in levels if level.is_met is False]
            told = f"{'no score' if score is None else f'{score:.1f} points'}; missed: {', '.join(missed) or 'nothing'}"
            metadata[name] = told
        return dg.MaterializeResult(metadata=metadata)

    return quality_report


def _write(target: Path, text: str) -> None:
    """Write the page whole: a reader sees the one before or the new one."""
    try:
        durable.replace_file(target, text.encode())
    except OSError as error:
        raise StorageError(
            f"writing the report {target}",
            received=str(error),
            next_step="check that the disk has room and the folder can be written, then make the report again",
        ) from error


def report_schedule() -> dg.ScheduleDefinition:
    """Return the schedule that makes the report each morning; it starts switched on."""
    return dg.ScheduleDefinition(
        name="quality_report_daily",
        target=dg.AssetSelection.assets(dg.AssetKey(ASSET)),
        cron_schedule=_EVERY_MORNING,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Makes the report of service levels and quality each morning.",
    )
