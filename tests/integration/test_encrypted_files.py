"""Files that are encrypted with age, and zips with a password: opened by a secret that is nowhere shown."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage
import pytest
import pyzipper
import zstandard
from declared import unchecked_source
from parsed_inputs import Parsed, parsed_inputs
from pydantic import ValidationError

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError
from dataops_assets.masking import mask
from dataops_assets.quality.raw_checks import raw_profile

CONTENT = b"id,amount\n1,2\n3,4\n"
KEY, OTHER = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def aged(content: bytes, key: pyrage.x25519.Identity = KEY, *, armored: bool = False) -> bytes:
    return pyrage.encrypt(content, [key.to_public()], armored=armored)


def zipped(*names: str, password: str = PASSWORD) -> bytes:
    written = io.BytesIO()
    kind = pyzipper.AESZipFile if password else pyzipper.ZipFile
    with kind(written, "w", compression=pyzipper.ZIP_DEFLATED) as archive:
        if password:
            archive.setencryption(pyzipper.WZ_AES)
            archive.setpassword(password.encode())
        for name in names:
            archive.writestr(name, CONTENT)
    return written.getvalue()


def read(engine: DuckDBEngine, home: Path, encryption: Mapping[str, Any], files: Mapping[str, bytes]) -> Parsed:
    connection = {"type": "files", "path": "x/*", "encryption": encryption}
    found = unchecked_source("orders", {"id": "integer", "amount": "integer"}, connection=connection)
    return parsed_inputs(engine, home, found, files)


def test_files_of_age_are_opened_by_any_of_the_keys(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_AGE_KEY", f"# created: 2024-01-01\n{OTHER}\n\n{KEY}\n")
    damaged = bytearray(aged(CONTENT))
    damaged[-3] ^= 1
    files = {
        "good.csv.age": (aged(CONTENT), ""),
        "packed.csv.zst.age": (aged(zstandard.compress(CONTENT)), ""),
        "armored.csv.age": (aged(CONTENT, OTHER, armored=True), ""),
        "stranger.csv.age": (aged(CONTENT, pyrage.x25519.Identity.generate()), "that the secret does not open"),
        "damaged.csv.age": (bytes(damaged), "a damaged or incomplete file of age"),
        "cut.csv.age": (aged(CONTENT)[:-5], "a damaged or incomplete file of age"),
        "plain.csv": (CONTENT, "bytes that are not encrypted, and not a file of age"),
    }
    encryption = {"type": "age", "identity": {"env": "SHOP_AGE_KEY"}}
    made = read(engine, tmp_path, encryption, {name: content for name, (content, _) in files.items()})
    assert {name: error for name, error in made.errors.items() if files[name][1] not in error} == {}
    assert [name for name, error in made.errors.items() if not error] == [name for name in files if not files[name][1]]
    assert made.rows("id", "amount") == [(1, 2), (3, 4)] * 3
    assert mask(f"a log with {KEY} in it") == "a log with *** in it"
    # what was received stays encrypted
    stored = [path.read_bytes() for path in tmp_path.rglob("raw/**/*.age") if path.is_file()]
    assert len(stored) == len(files) - 1
    assert CONTENT not in b"".join(stored)


def test_zips_with_a_password(engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_ZIP", PASSWORD)
    files = {
        "good.zip": (zipped("a.csv"), ""),
        "wrong.zip": (zipped("a.csv", password="x"), "a zip that the password does not open, or a damaged one (a.csv)"),
        "open.zip": (zipped("a.csv", password=""), "a zip without a password (a.csv), declared as encrypted"),
        "two.zip": (zipped("a.csv", "b.csv"), "a zip of 2 files"),
        "plain.csv": (CONTENT, "bytes of another kind instead of zip"),
    }
    encryption = {"type": "zip", "password": {"env": "SHOP_ZIP"}}
    made = read(engine, tmp_path, encryption, {name: content for name, (content, _) in files.items()})
    assert {name: error for name, error in made.errors.items() if files[name][1] not in error} == {}
    assert made.rows("id", "amount") == [(1, 2), (3, 4)]
    assert not [error for error in made.errors.values() if PASSWORD in error]


@pytest.mark.parametrize(
    ("value", "reason"), [(None, "no such variable"), ("AGE-SECRET-KEY-1X", "that is no secret key")]
)
def test_a_missing_or_wrong_secret_is_no_fault_of_the_file(
    value: str | None, reason: str, engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("SHOP_AGE_KEY", value)
    with pytest.raises(ConfigError, match=reason) as error:
        read(engine, tmp_path, {"type": "age", "identity": {"env": "SHOP_AGE_KEY"}}, {"a.csv.age": aged(CONTENT)})
    assert "AGE-SECRET-KEY-1X" not in str(error.value)


def test_files_of_age_are_opened_by_a_passphrase(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSPHRASE", PASSWORD)
    good = pyrage.passphrase.encrypt(CONTENT, PASSWORD)
    files = {
        "good.csv.age": (good, ""),
        "key.csv.age": (aged(CONTENT), "that the secret does not open"),
        "cut.csv.age": (good[:-5], "that the secret does not open"),
    }
    encryption = {"type": "age", "passphrase": {"env": "SHOP_PASSPHRASE"}}
    made = read(engine, tmp_path, encryption, {name: content for name, (content, _) in files.items()})
    assert {name: error for name, error in made.errors.items() if files[name][1] not in error} == {}
    assert made.rows("id") == [(1,), (3,)]
    with pytest.raises(ValidationError, match="either an identity"):
        read(engine, tmp_path, {**encryption, "identity": {"env": "SHOP_AGE_KEY"}}, {})


def test_the_check_of_the_bytes_knows_encrypted_files(tmp_path: Path) -> None:
    encryption = {"type": "age", "identity": {"env": "SHOP_AGE_KEY"}}
    declared = FileConnection.model_validate({"type": "files", "path": "x/*", "encryption": encryption})
    path = tmp_path / "a.csv.gz.age"
    for content, told in ((aged(CONTENT), True), (CONTENT, False)):
        path.write_bytes(content)
        profile, kind = raw_profile("raw/orders", "one", path, path.name, declared)
        assert (kind.is_as_declared, profile.columns) == (told, ())
