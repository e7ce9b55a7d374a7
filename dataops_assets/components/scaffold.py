"""Scaffolders: `dg scaffold defs dataops_assets.components.<component> <path>` writes a complete declaration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from dataops_assets.config.environment import environment_from
from dataops_assets.config.names import AREA, NAME
from dataops_assets.errors import ConfigError


class SourceParameters(BaseModel):
    """Options of the scaffold command for a source."""

    name: str = Field("", description="Source name; default: the last part of the path.")
    area: str = Field("", description="Subject area; default: the folder around it.")


_DECLARATION = """\
# A feed. `dg check yaml` checks this file; docs/declaring-a-source.md explains every part.
type: {type_name}
attributes:
  name: {name}
  area: {area}
  description: One row for each order. Daily files.
  owners: [team:{team}]

  connection:
    type: files
    # below the landing area (DATAOPS_LANDING, default .dataops/landing); a folder, a glob, or a URL such as s3://...
    path: {area}/{name}/*.csv
    format: {{type: csv, null_words: ["", NA]}}
    extract_time: {{pattern: "{name}_%Y-%m-%d.csv"}}

  # the contract: a value that does not fit sends its row to lake/{name}_quarantine
  columns:
    - {{name: order_id, type: integer, nullable: false, description: Number of the order.}}
    - {{name: ordered_on, type: date, description: Day of the order.}}
    - {{name: amount, type: "decimal(12,2)", description: "Amount, euros."}}

  # how files make the table. full: the newest is the table; key: the newest row of a key wins; append: all rows
  refresh: {{type: key, key: [order_id]}}

  rules:
    - {{name: is_large, expression: amount >= 100, description: Whether the order is a large one.}}

  validations:
    - {{name: amount_is_positive, expression: amount > 0, severity: warn}}
"""

_SAMPLE = """\
order_id,ordered_on,amount
1,2024-01-01,12.50
2,2024-01-01,250.00
"""


_TEMPLATES = """\
# Rules that sources share; docs/declaring-a-source.md explains every part. A source gets these by
#   use: [{{template: margin, tokens: {{prefix: net_, price: net, cost: cost}}}}]
type: {type_name}
attributes:
  templates:
    margin:
      description: What a sale earns.
      rules:
        - {{name: "${{prefix}}margin", expression: "${{price}} - ${{cost}}"}}
      validations:
        - {{name: "${{prefix}}margin is positive", expression: "${{prefix}}margin >= 0", severity: warn}}
"""


_INCIDENTS = """\
# Who is told of incidents; docs/incidents.md explains every part.
type: {type_name}
attributes:
  channels:
    # a URL of Apprise has secrets, so it is in an environment variable of the daemon's code location
    team: {{url: "${{INCIDENTS_URL}}"}}
  routes:
    - {{to: [team], severities: [fail]}}
"""


_CONNECTIONS = """\
# Databases that sources name in connection.database; docs/databases.md explains every part.
type: {type_name}
attributes:
  connections:
    shop:
      type: postgres
      host: db.example.com
      database: shop
      user: reader
      # a reference: the password itself is in the environment of the daemon and of the code location
      password: {{env: SHOP_DB_PASSWORD}}
"""


_OUTPUT = """\
# A delivery; docs/outputs.md explains every part.
type: {type_name}
attributes:
  name: {name}
  area: {area}
  description: Orders for the office, each night.
  from: hub/orders
  columns:
    - {{name: order_no, of: order_id}}
    - {{name: amount}}
  to:
    type: files
    # below DATAOPS_OUTPUTS, default .dataops/outputs
    path: {area}
    name: "{{output}}"
    format: csv
"""


class OutputScaffolder(dg.Scaffolder):
    """Writes a defs.yaml with one output to a file."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the file. Raises ConfigError if the Python format is requested."""
        folder = request.target_path.parent.name
        area = folder if AREA.match(folder) and folder != "defs" else request.target_path.name
        _write(request, _OUTPUT.format(type_name=request.type_name, name=request.target_path.name, area=area))


class ConnectionsScaffolder(dg.Scaffolder):
    """Writes a defs.yaml with one database."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the file. Raises ConfigError if the Python format is requested."""
        _write(request, _CONNECTIONS.format(type_name=request.type_name))


class IncidentsScaffolder(dg.Scaffolder):
    """Writes a defs.yaml with one channel and one route."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the file. Raises ConfigError if the Python format is requested."""
        _write(request, _INCIDENTS.format(type_name=request.type_name))


class TemplatesScaffolder(dg.Scaffolder):
    """Writes a defs.yaml with one template."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the file. Raises ConfigError if the Python format is requested."""
        _write(request, _TEMPLATES.format(type_name=request.type_name))


class SourceScaffolder(dg.Scaffolder[SourceParameters]):
    """Writes a commented defs.yaml, and a first file of the feed into the landing area if that is a local folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[SourceParameters]:
        """Return the options of the command line."""
        return SourceParameters

    def scaffold(self, request: dg.ScaffoldRequest[SourceParameters]) -> None:
        """Write the files. Raises ConfigError for an invalid name or area, and for the Python format."""
        parameters = request.params
        name = parameters.name or request.target_path.name
        if not NAME.match(name):
            raise ConfigError(
                "scaffolding a source", received=repr(name), next_step="give --name: lower case letters, digits and _"
            )
        folder = request.target_path.parent.name
        area = parameters.area or (name if folder == "defs" else folder)
        if not AREA.match(area):
            raise ConfigError(
                "scaffolding a source", received=f"area {area!r}", next_step="give --area: letters, digits and _"
            )
        text = _DECLARATION.format(type_name=request.type_name, name=name, area=area, team=area.replace("/", "-"))
        _write(request, text)
        _write_sample(request.project_root or Path.cwd(), f"{area}/{name}/{name}_2024-01-01.csv")


def _write(request: dg.ScaffoldRequest[Any], text: str) -> None:
    """Write a new file, or append to the declarations of an existing file."""
    if request.scaffold_format != "yaml":
        raise ConfigError("scaffolding a declaration", received=request.scaffold_format, known=["yaml"])
    if request.append:
        with request.target_path.open("a", encoding="utf-8") as stream:
            stream.write(f"---\n{text}")
    else:
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def _write_sample(project: Path, name: str) -> None:
    landing = environment_from(os.environ, project).landing
    if "://" in landing:
        return
    target = Path(landing) / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_SAMPLE, encoding="utf-8")
