"""A secret is found in a text by its place, or because it was remembered, and nothing else is touched."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.errors import StorageError
from dataops_assets.masking import cut_secrets, is_secret_name, mask, mask_logs, remember, remember_variables

SECRET = st.text("abcXYZ019+/=_-", min_size=6, max_size=30)


@given(SECRET)
def test_a_secret_in_a_url_or_a_connection_string_is_masked_wherever_it_stands(secret: str) -> None:
    secret = f"x{secret}"
    for text in (
        f"could not open s3://user:{secret}@bucket/in, tried 3 times",
        f"'https://host/in?a=1&sig={secret}&b=2' failed",
        f"https://host/in?X-Amz-Security-Token={secret}",
        f"AccountName=n;AccountKey={secret};EndpointSuffix=e",
        f"Authorization: Bearer {secret}abcdefgh",
    ):
        assert secret not in mask(text)
        assert "***" in mask(text)
        assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/in/a.csv",
        "/landing/a@b.csv",
        "http://127.0.0.1:9000/bucket/a@2x.csv",
        "abfs://container@account.dfs.core.windows.net/in",
        "https://host/in?page=2&size=10",
        "python:feeds:extracts/a.json",
        "id=5, key 7",
        "check DATAOPS_METADATA_URL; next: write the password as %40",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_what_was_given_as_a_secret_is_masked_in_every_form() -> None:
    remember(["q9/+remembered=", "abc", "true"])
    remember(["# created: today\npl4nted-line-one\npl4nted-line-two", "#pl4nted-alone"])
    assert mask("pl4nted-line-two, #pl4nted-alone, # created: today") == "***, ***, # created: today"
    assert mask("with q9/+remembered= and q9%2F%2Bremembered%3D, abc is true") == "with *** and ***, abc is true"


def test_options_that_hold_secrets_are_known_by_their_names() -> None:
    secret = ("key", "secret", "token", "account_key", "sas_token", "connection_string", "password")
    assert all(map(is_secret_name, secret))
    assert not any(map(is_secret_name, ["endpoint_url", "anon", "project", "account_name", "auto_mkdir"]))


def test_an_error_masks_itself_and_loses_the_causes_that_would_tell() -> None:
    cause = OSError("403 for https://u:pl4nted@host/in")
    error = StorageError("reading https://u:pl4nted@host/in", received=str(cause), next_step="ask u:pl4nted@host")
    error.__cause__ = ValueError("harmless")
    error.__cause__.__cause__ = cause
    assert "pl4nted" not in f"{error.attempted} {error.received}"
    cut_secrets(error)
    assert str(error.__cause__) == "harmless"
    assert error.__cause__.__cause__ is None


def test_the_secrets_of_an_environment_are_known_by_name_by_place_and_by_declaration() -> None:
    remember_variables(
        {
            "SNOWFLAKE_PASSWORD": "pl4nted-by-name",
            "PATH_OF_SECRETS": "/a/path-that-stays",
            "PWD": "/the/folder-that-stays",
            "SHORT_TOKEN": "usual",
            "DB_URL": "postgresql://user:pl4nted%2Fplace@host/db?token=pl4nted-query&assignee=stays",
            "DATAOPS_SPARK_CONF": '{"fs.s3a.secret.key": "pl4nted-conf", "spark.executor.memory": "stays-8g"}',
            "CRM": "pl4nted-declared",
            "BROKEN": "://[",
        },
        ["CRM", "NOT_SET"],
    )
    secrets = ["pl4nted-by-name", "pl4nted/place", "pl4nted-query", "pl4nted-conf", "pl4nted-declared"]
    assert mask(" ".join(secrets)) == " ".join(["***"] * 5)
    kept = "/a/path-that-stays /the/folder-that-stays usual stays stays-8g"
    assert mask(kept) == kept


def test_log_records_and_their_tracebacks_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = logging.getLogRecordFactory()
    monkeypatch.setattr(logging, "setLogRecordFactory", lambda factory: setattr(logging, "_of_this_test", factory))
    remember(["pl4nted-in-log"])
    mask_logs()
    factory = logging.__dict__.pop("_of_this_test")
    assert logging.getLogRecordFactory() is made
    try:
        raise ValueError("with pl4nted-in-log")
    except ValueError:
        record = factory("a", logging.ERROR, "f", 1, "asked %s with %s", ("x", "pl4nted-in-log"), sys.exc_info())
    told = logging.Formatter().format(record)
    assert told.startswith("asked x with ***\nTraceback")
    assert told.endswith("ValueError: with ***")
    # arguments that do not fit are left to the handler, as without this
    assert factory("a", logging.ERROR, "f", 1, "%d", ("x",), None).args == ("x",)
