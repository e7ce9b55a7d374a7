"""Finds the rows that a table no longer has, by the raw files of the inputs since it was last read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from dataops_assets.sql import DIALECT, alias, column, columns, conjunction, literal, query


def deleted_rows(earlier: Sequence[Path], whole: Path, key: Sequence[str], deleted: str) -> pa.Table:
    """Return the newest row of each key that is in `earlier` and not in `whole`, marked in the column `deleted`.

    `earlier` are the files in their order. Rows that are marked there are not returned again.
    """
    links = [whole.with_name(f"earlier-{place:08}.parquet") for place in range(len(earlier))]
    for link, path in zip(links, earlier, strict=True):
        # links of our own: the engine takes some characters of a path for patterns, and their names have the order
        link.symlink_to(path.absolute())
    newest = query(
        "SELECT * FROM read_parquet($paths, union_by_name = true, filename = 's_place', file_row_number = true) AS r "
        "QUALIFY row_number() OVER (PARTITION BY $key ORDER BY r.s_place DESC, r.file_row_number DESC) = 1",
        paths=literal([str(link) for link in links]),
        key=columns(key, "r"),
    )
    same = conjunction(
        query("$one IS NOT DISTINCT FROM $other", one=column(name, "n"), other=column(name, "w")) for name in key
    )
    gone = query(
        "SELECT n.* EXCLUDE (s_place, file_row_number) REPLACE ($gone) FROM $newest AS n "
        "WHERE NOT $mark AND NOT EXISTS (SELECT 1 FROM read_parquet($whole) AS w WHERE $same)",
        gone=alias(literal(True), deleted),
        newest=newest,
        mark=column(deleted, "n"),
        whole=literal(str(whole)),
        same=same,
    )
    with duckdb.connect() as connection:
        return connection.execute(gone.sql(DIALECT)).to_arrow_table()
