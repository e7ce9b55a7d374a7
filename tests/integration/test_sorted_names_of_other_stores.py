"""Buckets of GCS and Azure (emulators) are listed from the last names on; test_ingest_s3.py is about S3."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from bucket_senders import AzureKeys, GcsKeys, Keys, Sender
from emulated_azure import emulated_azure
from emulated_gcs import emulated_gcs
from reading_process import Reader

from dataops_assets.connections.buckets.kinds import bucket_of
from dataops_assets.connections.stores import open_store

DAY = 24 * 60 * 60


@pytest.fixture(params=["gcs", "azure"])
def keys(request: pytest.FixtureRequest) -> Iterator[Keys]:
    if request.param == "gcs":
        with emulated_gcs("first") as url:
            yield GcsKeys(url, "lake")
    else:
        with emulated_azure() as url:
            yield AzureKeys(url, "lake")


def test_names_that_sort_by_time_are_listed_from_the_last_ones_on(keys: Keys, tmp_path: Path) -> None:
    random, there = Random(56), list[str]()
    store, _ = open_store(f"{keys.scheme}://lake", keys.options, "a test")
    bucket = bucket_of(store)
    assert bucket is not None
    folders = ["in/", "in/1/", "in/1-/", "in/1/2/", "in/10/", "in/ä b+c/", "in/~/", "other/"]
    for _ in range(25):
        there.append(f"{random.choice(folders)}{random.randrange(100):02}.csv")
        keys.put(there[-1], b"a\n")
    starts = ["", "in/1", "in/1/", "in/1/2/50.csv", "in/z", "zz", "a", *random.sample(there, 5)]
    for root in ("lake/in", "lake"):
        below = root.removeprefix("lake").lstrip("/")
        for start in starts:
            listed = [path for path, _ in bucket.names_after(root, f"lake/{start}" if start else "")]
            wanted = {f"lake/{name}" for name in there if name.startswith(below) and name > start}
            assert (set(listed), len(listed)) == (wanted, len(wanted)), (root, start)

    # in the feed of a source
    sender = Sender(keys)
    reader = Reader(tmp_path, sender.feed(path=f"{keys.scheme}://lake/days/**/*.csv", sorted_names={"overlap": 1}))
    for day in (1, 2, 3):
        keys.put(f"days/2024-01-0{day}/orders_2024-01-0{day}.csv", f"id\n{day}\n".encode())
    now = dt.datetime.now(dt.UTC)
    assert [len(reader.look(60).new), len(reader.look(60).new)] == [3, 0]
    for name in ("days/2024-01-01/late/orders_2024-01-01.csv", "days/2024-01-04/orders_2024-01-04.csv"):
        keys.put(name, f"id\n{name}\n".encode())
    found = reader.look(60)
    assert [item.origin.rpartition("/")[2] for item in found.new] == ["orders_2024-01-04.csv"]
    reader.ingest()
    late = reader.look(DAY + 60 + (dt.datetime.now(dt.UTC) - now).total_seconds())
    assert [item.origin.partition("days/")[2] for item in late.new] == ["2024-01-01/late/orders_2024-01-01.csv"]
