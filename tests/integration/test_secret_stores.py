"""Secrets in AWS Secrets Manager and in Vault: read by reference, rotated without a restart, never shown.

Both stores are emulators: moto for AWS, and a small server with the API of Vault's key-value engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from emulated_aws import emulated_aws
from pydantic import ValidationError
from rest_server import Reply, Request, RestServer, rest_server

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.secrets import Secret
from dataops_assets.connections import secret_stores
from dataops_assets.connections.secrets import secret_of, secrets_in
from dataops_assets.connections.stores import options_of
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.masking import MASK, mask

TOKEN = "hvs.t0ken-of-the-platform"


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(secret_stores, "time", SimpleNamespace(monotonic=found))
    monkeypatch.setattr(secret_stores, "_kept", {})
    return found


@pytest.fixture(scope="module")
def aws_endpoint() -> Iterator[str]:
    with emulated_aws() as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.client("secretsmanager")


class Vault:
    """What Vault has, by path; other tokens are refused."""

    def __init__(self, server: RestServer) -> None:
        self.values: dict[str, Any] = {}
        self.status = 200
        self.variables = {"VAULT_ADDR": server.url.removesuffix("/v1"), "VAULT_TOKEN": TOKEN}
        server.answer = self.answer

    def answer(self, request: Request) -> Reply:
        if self.status != 200:
            return Reply({"errors": ["sealed"]}, self.status)
        if request.headers.get("X-Vault-Token") != TOKEN:
            return Reply({"errors": ["permission denied"]}, 403)
        path = request.path.removeprefix("/v1/")
        return Reply({"data": self.values[path]}) if path in self.values else Reply({"errors": []}, 404)


@pytest.fixture
def vault() -> Iterator[Vault]:
    with rest_server() as server:
        yield Vault(server)


def test_a_secret_of_aws_is_read_by_name_key_and_arn_and_rotates(aws: Any, clock: Clock) -> None:
    arn = aws.create_secret(Name="shop/db", SecretString=json.dumps({"password": "first-pass", "port": 5432}))["ARN"]
    aws.create_secret(Name="shop/token", SecretString="whole-text")
    by_key = Secret(aws="shop/db", key="password")
    assert secret_of(by_key, {}) == secret_of(Secret(aws=arn, key="password"), {}) == "first-pass"
    assert secret_of(Secret(aws="shop/db", key="port"), {}) == "5432"
    assert secret_of(Secret(aws="shop/token"), {}) == "whole-text"

    aws.put_secret_value(SecretId="shop/db", SecretString=json.dumps({"password": "second-pass"}))
    assert secret_of(by_key, {}) == "first-pass"
    clock.now += secret_stores.KEPT_SECONDS
    assert secret_of(by_key, {}) == "second-pass"
    # neither is shown from now on, wherever it turns up
    assert mask("first-pass, second-pass, whole-text") == f"{MASK}, {MASK}, {MASK}"

    for wrong, told in (
        (Secret(aws="shop/nowhere"), "ResourceNotFoundException"),
        (Secret(aws="shop/db", key="user"), "values with the names password"),
        (Secret(aws="shop/token", key="user"), "no JSON object"),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            secret_of(wrong, {})
        assert wrong.place in str(refused.value)


def test_a_secret_of_vault_is_read_of_both_versions_of_the_engine_and_rotates(vault: Vault, clock: Clock) -> None:
    vault.values["secret/data/shop"] = {"data": {"password": "v2-first", "user": "me"}, "metadata": {"version": 1}}
    vault.values["kv/shop"] = {"password": "v1-only"}
    by_key = Secret(vault="secret/data/shop", key="password")
    assert secret_of(by_key, vault.variables) == "v2-first"
    assert secret_of(Secret(vault="kv/shop"), vault.variables) == "v1-only"

    vault.values["secret/data/shop"] = {"data": {"password": "v2-second"}, "metadata": {"version": 2}}
    clock.now += secret_stores.KEPT_SECONDS
    assert secret_of(by_key, vault.variables) == "v2-second"
    assert mask(f"{TOKEN} v2-first v2-second v1-only") == " ".join([MASK] * 4)

    # a store that is away is no fault of the declaration, and what was read before is not taken for what it has now
    clock.now += secret_stores.KEPT_SECONDS
    vault.status = 503
    with pytest.raises(StorageError, match="status 503"):
        secret_of(by_key, vault.variables)


def test_vault_tells_what_is_missing(vault: Vault, clock: Clock, tmp_path: Any) -> None:
    vault.values["secret/data/shop"] = {"data": {"a": "1", "b": "2"}, "metadata": {}}
    there = Secret(vault="secret/data/shop", key="a")
    for variables, told in (
        ({}, "VAULT_ADDR"),
        ({"VAULT_ADDR": vault.variables["VAULT_ADDR"]}, "VAULT_TOKEN_FILE"),
        ({**vault.variables, "VAULT_TOKEN": "stale-token"}, "no right to read it"),
    ):
        with pytest.raises(ConfigError, match=told):
            secret_of(there, variables)
    for reference, told in (
        (Secret(vault="secret/data/shop"), "values with the names a, b"),
        (Secret(vault="secret/shop"), "nothing at this path"),
    ):
        with pytest.raises(ConfigError, match=told):
            secret_of(reference, vault.variables)
    # the token that Vault's agent renews is read again each time
    token = tmp_path / "token"
    variables = {"VAULT_ADDR": vault.variables["VAULT_ADDR"], "VAULT_TOKEN_FILE": str(token)}
    token.write_text("stale-token\n")
    with pytest.raises(ConfigError, match="no right"):
        secret_of(there, variables)
    token.write_text(f"{TOKEN}\n")
    assert secret_of(there, variables) == "1"


def test_options_of_stores_take_the_same_references(vault: Vault, clock: Clock, tmp_path: Any) -> None:
    vault.values["kv/bank"] = {"key": "private key of the bank"}
    (tmp_path / "passphrase").write_text("of the file\n")
    connection = FileConnection.model_validate(
        {
            "type": "files",
            "path": "sftp://files.example.com/out",
            "storage_options": {
                "username": "me",
                "private_key": {"vault": "kv/bank"},
                "passphrase": {"file": str(tmp_path / "passphrase")},
            },
        }
    )
    assert options_of(connection.storage_options, vault.variables) == {
        "username": "me",
        "private_key": "private key of the bank",
        "passphrase": "of the file",
    }
    assert [path for path, _ in secrets_in(connection)] == ["storage_options.private_key", "storage_options.passphrase"]


@pytest.mark.parametrize(
    "wrong", [{}, {"env": "A", "file": "/b"}, {"aws": "a", "vault": "b"}, {"env": "A", "key": "b"}, {"key": "b"}]
)
def test_a_reference_names_one_place(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Secret.model_validate(wrong)
