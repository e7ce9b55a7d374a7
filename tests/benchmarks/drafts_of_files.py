"""Drafts a source from each of some files, loads the declaration, and parses the file with it.

`python tests/benchmarks/drafts_of_files.py FILE...` prints a line for each file: rows, rejected rows, key, refresh type
and what looks unhealthy. docs/declare-from-data.md says which files were tried.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parsed_files import parsed

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.declaring.declaration_text import declaration_text, finding_text
from dataops_assets.declaring.draft import Request, draft
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import DataOpsError
from dataops_assets.rules.compiler import compile_rules


def main(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": folder}, Path(folder))
        engine = DuckDBEngine(environment)
        for path in map(Path, paths):
            began = time.perf_counter()
            try:
                made = draft(engine, Request("tried", "tried", (path,), environment.landing, dt.datetime.now(dt.UTC)))
                source = Source.model_validate(yaml.safe_load(declaration_text(made))["attributes"])
                compile_rules(source, {source.name: source})
                rows, bad = parsed(engine, path, source)
            except DataOpsError as error:
                print(f"{path.name}: refused: {error}")
                continue
            seconds = time.perf_counter() - began
            print(f"{path.name}: {len(rows):,} rows, {bad} rejected, {made.refresh.declared}, {seconds:.1f} s")
            for item in made.columns:
                print(f"    {item.declared.name}: {item.declared.type} {item.declared.date_format or ''}")
            for finding in made.findings:
                print(f"  - {finding.kind}: {finding_text(finding)}")


if __name__ == "__main__":
    main(sys.argv[1:])
