"""The component that declares publications, and the sensor that moves them when their tables agree.

Annotations are not postponed in this module: Dagster reads those of a sensor's function.
"""

from collections.abc import Mapping
from typing import Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.declarations import Declarations
from dataops_assets.components.platform import Platform
from dataops_assets.config.publications import Publications
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.steps.upkeep.publishing import PublicationState, PublishingContext, publish_all

SENSOR = "publications"
_EVERY_SECONDS = 10
_SHOWN = 3


class PublicationsComponent(dg.Component):
    """Tables that their readers see at one moment, all of them or none."""

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return Publications

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(description="Tables that readers see at one moment.", tags=["dataops"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003
        """Create the component from a valid declaration."""
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build no definitions: one sensor of the code location moves all publications."""
        return dg.Definitions()


def require_published_models(declared: Declarations, made: Mapping[str, object], target: str) -> None:
    """Raise ConfigError for a publication with a model that is not among the assets `made`, by asset key.

    Also for one with any model, if the warehouse is not the embedded one: `target` is the target of dbt.
    """
    known = [name for name in made if name.startswith("warehouse/")]
    for name, publication in declared.publications.items():
        for table in publication.tables:
            if not table.startswith("warehouse/"):
                continue
            if target != "duckdb":
                raise ConfigError(
                    f"reading the publication {name!r}",
                    received=f"{table}: a warehouse of target {target!r} cannot keep its tables as of a moment",
                    known=["duckdb"],
                    next_step="leave the models out: hub and lake tables can be published",
                )
            if table not in made:
                raise ConfigError(
                    f"reading the publication {name!r}",
                    received=table,
                    known=known,
                    next_step=nearest(table, known) or "declare the dbt project, or leave the model out",
                )


def publishing_context(platform: Platform, sources: Mapping[str, Source]) -> PublishingContext:
    """Return what publishing works with; the tables of the metadata are made or upgraded."""
    platform.metadata.migrate()
    return PublishingContext(platform.environment, platform.metadata, sources)


def publications_sensor(declared: Declarations) -> dg.SensorDefinition:
    """Build the sensor; it starts switched on."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description="Moves each publication to a newer moment when its tables agree; readers see all of it at once.",
    )
    def publish_what_agrees(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = getattr(context.resources, PLATFORM)
        states = publish_all(publishing_context(platform, declared.sources), declared.publications)
        for state in states:
            if state.is_new:
                context.log.info(told(state))
        return dg.SensorResult(skip_reason="; ".join(told(state) for state in states))

    return publish_what_agrees


def told(state: PublicationState) -> str:
    """Return the state of a publication as one sentence."""
    number = f"moment {state.moment.number}" if state.moment else "nothing published yet"
    if state.is_new:
        return f"{state.name}: published {number}"
    if not state.reasons:
        return f"{state.name}: {number} is the newest"
    rest = len(state.reasons) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return f"{state.name}: {number}; it waits: {'; '.join(state.reasons[:_SHOWN])}{more}"
