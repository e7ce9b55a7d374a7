"""Small values that the tests of the metadata store share."""

from __future__ import annotations

import datetime as dt

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.contract import Column
from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.rules import Rule
from dataops_assets.config.source import Source
from dataops_assets.report import Input

START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)


def source(name: str = "sales", *, rules: tuple[Rule, ...] = (), **changes: object) -> Source:
    """A declared source with two columns."""
    declared = {
        "name": name,
        "area": "shop",
        "description": "One row a sale",
        "owners": ("team:data",),
        "connection": FileConnection(type="files", path="sales/*.csv"),
        "columns": (Column(name="store", type="integer"), Column(name="amount", type="decimal(10,2)")),
        "refresh": AppendRefresh(type="append"),
        "rules": rules,
    }
    return Source.model_validate({**declared, **changes})


def an_input(number: int, *, digest: str = "", origin: str = "") -> Input:
    """The input of one day."""
    time = START + dt.timedelta(days=number)
    digest = digest or f"{number:064x}"
    input_id = f"{time:%Y%m%dT%H%M%SZ}-{number:012x}"
    return Input(time, time, input_id, digest, origin or f"/landing/{number}.csv", 10 + number, content=digest)
