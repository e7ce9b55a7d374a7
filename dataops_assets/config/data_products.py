"""Data products that YAML declares: which sources they are made of, and the objectives of their service."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.incidents import Hours


class ShareObjective(Declared):
    """How large the good share must be: of rows that reach the hub, or of check results that pass."""

    target: float = Field(
        0.99, gt=0, lt=1, description="Minimum share that must be good; the rest is the error budget."
    )


class FreshnessObjective(Declared):
    """How soon after each other the hubs of the product must get new data."""

    within: Duration = Field(
        gt=dt.timedelta(0),
        description="Longest allowed time without new data in a hub; only time within `hours` counts.",
    )
    hours: Hours | None = Field(None, description="Business hours; default: all hours.")
    target: float = Field(0.95, gt=0, lt=1, description="Minimum share of the time that must be good.")


class ResolutionObjective(Declared):
    """How soon incidents must be resolved."""

    within: Duration = Field(gt=dt.timedelta(0), description="Longest time from opening to resolution.")
    target: float = Field(0.9, gt=0, lt=1, description="Minimum share of incidents that must be resolved in time.")


class Objectives(Declared):
    """The objectives of a data product. All are optional."""

    window: Duration = Field(
        dt.timedelta(days=28), gt=dt.timedelta(days=1), description="The time over which the good share is computed."
    )
    freshness: FreshnessObjective | None = Field(None, description="New data come in time.")
    completeness: ShareObjective | None = Field(None, description="Share of delivered rows that reach the hub.")
    correctness: ShareObjective | None = Field(None, description="Share of check results that pass.")
    incidents: ResolutionObjective | None = Field(None, description="Incidents are resolved in time.")


class DataProduct(Declared):
    """Tables that people rely on together, with an owner and objectives."""

    description: str = Field("", description="Purpose of the data product.")
    owner: str = Field("", description="Owner of the data product: an e-mail address or 'team:name'.")
    sources: tuple[str, ...] = Field(min_length=1, description="Names of the sources that belong to it.")
    objectives: Objectives = Field(Objectives(), description="Service levels that the owner promises.")
    critical_columns: tuple[str, ...] = Field(
        (), description="Columns, as 'source.column', whose faults lower the quality score more than others."
    )
    critical_weight: float = Field(3.0, ge=1, description="Factor by which a fault in a critical column counts more.")


class DataProducts(Declared):
    """The data products of a deployment, by name."""

    products: dict[str, DataProduct] = Field({}, description="Data products by name.")
