"""A release is made again from raw: equal in every row and column, or what differs is told, with possible reasons."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Ended, dataops
from planned_cases import Deployment, declarations, deliver

from dataops_assets.operations import code_version, project
from dataops_assets.steps.source_context import SourceContext


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment with the release v1, and with a newer input and a newer look-up since."""
    monkeypatch.setattr(project, "PROJECT", tmp_path / "code")
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    landing = tmp_path / "landing"
    deliver(landing)
    made = Deployment(tmp_path / "home", landing)
    tree = made.write(declarations())
    assert made.run(tree) == []
    released = dataops(made.contexts(tree), "release", "v1", "--json")
    assert released.code == 0, released.err
    for name, content in (
        ("sales_2024-01-03.csv", "id,at,shop,amount,note,extra\n1,9,a,100,x,p\n7,1,b,1,x,p\n"),
        ("shops_2024-01-02.csv", "shop,city,size\na,Bern,50\nb,Oslo,5\n"),
    ):
        (landing / name).write_text(content)
        os.utime(landing / name, (1_704_200_000, 1_704_200_000))
    assert made.run(tree) == []
    return made


def again(contexts: list[SourceContext], *words: str) -> Ended:
    return dataops(contexts, "reproduce", "v1", *words, "--json")


def test_a_release_is_made_again_and_proven_equal_or_told_apart(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = here.write(declarations())
    before = here.rows(tree)
    done = again(here.contexts(tree))
    assert (done.code, done.data["reasons"]) == (0, []), done.err or done.out
    found = {item["asset"]: item for item in done.data["tables"]}
    assert {"lake/sales", "lake/sales_quarantine", "hub/sales", "hub/sales_current", "hub/shops"} <= set(found)
    assert found["hub/sales"]["rows"] == found["hub/sales"]["rows_again"] == 3
    assert here.rows(tree) == before, "the deployment is only read"
    assert not list((here.home / "environments").iterdir())

    # another code, another rule: told as reasons, with the column and the rows that differ
    monkeypatch.setenv(code_version.VARIABLE, "other")
    changed = declarations()
    changed["sales"]["rules"][0]["expression"] = "amount * 3"
    done = again(here.contexts(here.write(changed)), "--keep")
    assert done.code == 1
    found = {item["asset"]: item for item in done.data["tables"]}
    assert found["hub/sales"]["columns"] == ["doubled"]
    assert found["hub/sales"]["only_in_release"] == found["hub/sales"]["only_again"] == 3
    assert found["lake/sales"]["is_equal"]
    assert found["hub/shops"]["is_equal"]
    assert any("made with abc, and this is other" in reason for reason in done.data["reasons"])
    assert any("another declaration than in the release: doubled" in reason for reason in done.data["reasons"])
    assert done.data["kept"] == "reproduce-v1"
    assert (here.home / "environments" / "reproduce-v1").is_dir()

    # a raw file that lost its bytes
    (raw,) = [path for path in (here.home / "storage" / "raw" / "sales").rglob("*2024-01-02*.csv") if path.is_file()]
    raw.unlink()
    raw.write_bytes(b"id,at\n")
    tree = here.write(declarations())
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    refused = again(here.contexts(tree))
    assert (refused.code, "dataops env drop reproduce-v1" in refused.err) == (2, True), "a person looks at the kept one"
    monkeypatch.setattr(project, "environment", lambda: here.environment)
    assert dataops(here.contexts(tree), "env", "drop", "reproduce-v1").code == 0
    done = again(here.contexts(tree))
    assert done.code == 1
    assert any(reason.startswith("sales: input 2024-01-02") for reason in done.data["reasons"])
    found = {item["asset"]: item for item in done.data["tables"]}
    assert found["lake/sales"]["only_in_release"] == 3
    assert found["hub/shops"]["is_equal"]
