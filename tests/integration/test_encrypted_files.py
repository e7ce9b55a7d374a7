"""Files that are encrypted with age or PGP, and zips with a password: opened by a secret that is nowhere shown."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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


def read(
    engine: DuckDBEngine,
    home: Path,
    encryption: Mapping[str, Any],
    files: Mapping[str, bytes],
    limits: Mapping[str, int] = MappingProxyType({}),
) -> Parsed:
    connection = {"type": "files", "path": "x/*", "encryption": encryption, "limits": dict(limits)}
    found = unchecked_source("orders", {"id": "integer", "amount": "integer"}, connection=connection)
    return parsed_inputs(engine, home, found, files)


def assert_nowhere_told(home: Path, made: Parsed, *secrets: str) -> None:
    """No secret is in an error, in the metadata, or in any other file of the deployment."""
    for secret in secrets:
        assert not [error for error in made.errors.values() if secret in error]
        assert not [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


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
    assert_nowhere_told(tmp_path, made, str(KEY), str(OTHER))


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
    assert_nowhere_told(tmp_path, made, PASSWORD)


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
    assert_nowhere_told(tmp_path, made, PASSWORD)
    with pytest.raises(ValidationError, match="either an identity"):
        read(engine, tmp_path, {**encryption, "identity": {"env": "SHOP_AGE_KEY"}}, {})


@dataclass(frozen=True)
class KeyRing:
    """A key ring of gpg, as a sender and the owner of a key have one."""

    folder: Path

    def gpg(self, *words: str, given: bytes = b"", passphrase: str = "") -> bytes:
        fixed = ["gpg", "--homedir", str(self.folder), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        command = [*fixed, "--trust-model", "always", "--passphrase", passphrase, *words]
        return subprocess.run(command, input=given, check=True, capture_output=True).stdout

    def key(self, name: str, passphrase: str = "") -> None:
        self.gpg("--quick-generate-key", f"{name}@example.com", "ed25519", "cert", passphrase=passphrase)
        self.subkey(name, passphrase)

    def subkey(self, name: str, passphrase: str = "") -> None:
        told = self.gpg("--with-colons", "--list-keys", f"{name}@example.com").decode()
        print_of = next(line.split(":")[9] for line in told.splitlines() if line.startswith("fpr"))
        self.gpg("--quick-add-key", print_of, "cv25519", "encr", passphrase=passphrase)

    def sealed(self, name: str, content: bytes = CONTENT, *words: str) -> bytes:
        return self.gpg("--recipient", f"{name}@example.com", *words, "--encrypt", given=content)

    def secret(self, name: str, passphrase: str = "") -> str:
        return self.gpg("--armor", "--export-secret-keys", f"{name}@example.com", passphrase=passphrase).decode()


@pytest.fixture(scope="module")
def ring() -> Iterator[KeyRing]:
    if shutil.which("gpg") is None:
        pytest.skip("no gpg here (Debian: apt-get install gnupg)")
    # sockets of gpg have short names
    with tempfile.TemporaryDirectory(prefix="ring-", ignore_cleanup_errors=True) as folder:
        made = KeyRing(Path(folder))
        for name, passphrase in (("shop", PASSWORD), ("other", ""), ("stranger", "")):
            made.key(name, passphrase)
        made.gpg("--quick-generate-key", "signer@example.com", "ed25519", "sign")
        yield made
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=True)


def test_files_of_pgp_are_opened_by_any_of_the_keys(
    engine: DuckDBEngine, ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = ring.sealed("other")
    ring.subkey("other")
    (tmp_path / "shop.asc").write_text(ring.secret("shop", PASSWORD) + ring.secret("other"))
    monkeypatch.setenv("SHOP_PASSPHRASE", PASSWORD)
    damaged = bytearray(ring.sealed("shop", CONTENT, "--compress-algo", "none"))
    damaged[-30] ^= 1
    files = {
        "good.csv.gpg": (ring.sealed("shop"), ""),
        "packed.csv.gz.pgp": (ring.sealed("shop", gzip.compress(CONTENT)), ""),
        "armored.csv.asc": (ring.sealed("other", CONTENT, "--armor"), ""),
        "subkey.csv.pgp": (earlier, ""),
        "signed.csv.pgp": (ring.sealed("shop", CONTENT, "--sign", "--local-user", "signer@example.com"), ""),
        "large.csv.pgp": (ring.sealed("other", b"id,amount\n" + b"1,2\n" * 5000), "with more than 10,000 bytes"),
        "stranger.csv.pgp": (ring.sealed("stranger"), "that the secret does not open"),
        "damaged.csv.pgp": (bytes(damaged), "a damaged or incomplete file of PGP"),
        "cut.csv.pgp": (ring.sealed("shop")[:-9], "a damaged or incomplete file of PGP"),
        "plain.csv": (CONTENT, "not encrypted with PGP"),
    }
    encryption = {"type": "pgp", "keys": {"file": str(tmp_path / "shop.asc")}, "passphrase": {"env": "SHOP_PASSPHRASE"}}
    given = {name: content for name, (content, _) in files.items()}
    made = read(engine, tmp_path, encryption, given, {"unpacked_bytes": 10_000})
    assert {name: error for name, error in made.errors.items() if files[name][1] not in error} == {}
    assert made.rows("id", "amount") == [(1, 2), (3, 4)] * [error for _, error in files.values()].count("")
    assert PASSWORD not in " ".join(made.errors.values())


def test_files_of_pgp_are_opened_by_a_passphrase(
    engine: DuckDBEngine, ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSPHRASE", PASSWORD)
    files = {
        "good.csv.gpg": (ring.gpg("--symmetric", given=CONTENT, passphrase=PASSWORD), ""),
        "other.csv.gpg": (ring.gpg("--symmetric", given=CONTENT, passphrase="x"), "that the secret does not open"),
        "key.csv.gpg": (ring.sealed("shop"), "that the secret does not open"),
    }
    encryption: dict[str, Any] = {"type": "pgp", "passphrase": {"env": "SHOP_PASSPHRASE"}}
    made = read(engine, tmp_path, encryption, {name: content for name, (content, _) in files.items()})
    assert {name: error for name, error in made.errors.items() if files[name][1] not in error} == {}
    assert made.rows("id") == [(1,), (3,)]
    no_key = {**encryption, "keys": {"env": "SHOP_PASSPHRASE"}}
    with pytest.raises(ConfigError, match="no secret key of PGP"):
        read(engine, tmp_path / "no_key", no_key, {"good.csv.gpg": files["good.csv.gpg"][0]})
    with pytest.raises(ValidationError, match="pgp needs keys"):
        read(engine, tmp_path, {"type": "pgp"}, {})


def test_the_check_of_the_bytes_knows_encrypted_files(ring: KeyRing, tmp_path: Path) -> None:
    encryption = {"type": "age", "identity": {"env": "SHOP_AGE_KEY"}}
    declared = FileConnection.model_validate({"type": "files", "path": "x/*", "encryption": encryption})
    path = tmp_path / "a.csv.gz.age"
    for content, told in ((aged(CONTENT), True), (CONTENT, False)):
        path.write_bytes(content)
        profile, kind = raw_profile("raw/orders", "one", path, path.name, declared)
        assert (kind.is_as_declared, profile.columns) == (told, ())
    encryption = {"type": "pgp", "passphrase": {"env": "SHOP_PASSPHRASE"}}
    declared = FileConnection.model_validate({"type": "files", "path": "x/*", "encryption": encryption})
    for content, told in (
        (ring.sealed("shop"), True),
        (ring.sealed("shop", CONTENT, "--armor"), True),
        (CONTENT, False),
    ):
        path.write_bytes(content)
        assert raw_profile("raw/orders", "one", path, path.name, declared)[1].is_as_declared is told
