"""A metadata database that cannot be used: the error says why, and never shows the password."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import given

from dataops_assets.config.environment import environment_from
from dataops_assets.errors import ConfigError, DataOpsError, StorageError
from dataops_assets.metadata.store import MetadataStore

# Nothing listens on the discard port
NOWHERE = "127.0.0.1:9"


def _told(error: BaseException) -> str:
    """All that a log would show of an error."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no database URL"),
        ("metadata.db", "no database URL"),
        ("postgresql://u:hunter2@host:port/db", "no database URL"),
        ("mysql://u:hunter2@host/db", "'mysql'"),
        ("postgresql+unheard://u:hunter2@host/db", "driver 'postgresql\\+unheard'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://u:hun@ter2@host/db", "unescaped '@'"),
        ("postgresql://u:hun@ter2/x@host/db", "unescaped '@'"),
        ("postgresql://u:hun@ter2?x@host/db", "unescaped '@'"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_an_example(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"DATAOPS_METADATA_URL.*{reason}") as caught:
        MetadataStore(url)
    assert "ter2" not in _told(caught.value)


@given(st.text("abcXYZ019:/?#%[]@!$&'()*+,;=\\\" ", min_size=1, max_size=8).map(lambda text: f"hun{text}Zq9"))
def test_no_password_escaped_or_not_is_ever_shown(password: str) -> None:
    escaped = sa.URL.create("postgresql", "u", password, "127.0.0.1", 9, "db").render_as_string(hide_password=False)
    for url in (f"postgresql://u:{password}@{NOWHERE}/db", escaped, f"postgresql://{NOWHERE}/db?password=hunZq9"):
        with pytest.raises(DataOpsError) as caught:
            MetadataStore(url).inputs("sales")
        told = _told(caught.value)
        assert "hun" not in told
        assert "Zq9" not in told


def test_no_value_that_is_logged_shows_the_url(tmp_path: Path) -> None:
    url = f"postgresql://u:hunter2@{NOWHERE}/db"
    environment = environment_from({"DATAOPS_METADATA_URL": url}, tmp_path)
    assert environment.metadata_url == url
    assert "hunter2" not in f"{environment!r} {environment} {MetadataStore(url)!r}"


def test_the_short_name_that_hosts_give_is_postgresql() -> None:
    with pytest.raises(StorageError, match=f"'db' at {NOWHERE}.*next: check DATAOPS_METADATA_URL"):
        MetadataStore(f"postgres://u:hunter2@{NOWHERE}/db").migrate()


@pytest.mark.postgres
def test_a_wrong_password_is_a_storage_error_that_does_not_show_it(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(password="hunter2")
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        MetadataStore(url.render_as_string(hide_password=False)).migrate()
    assert "hunter2" not in _told(caught.value)


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    path.write_bytes(b"station,date\n" * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        MetadataStore(f"sqlite:///{path}").migrate()
    assert path.read_bytes() == b"station,date\n" * 100


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="upgrading the metadata tables in the SQLite database"):
        MetadataStore(f"sqlite:///{tmp_path}/file/metadata.db").migrate()


def test_migrating_makes_the_folder_and_a_database_that_readers_and_a_writer_share(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "metadata.db"
    MetadataStore(f"sqlite:///{path}").migrate()
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_opening_does_nothing(tmp_path: Path) -> None:
    MetadataStore(f"sqlite:///{tmp_path}/folder/metadata.db")
    MetadataStore(f"postgresql://u:p@{NOWHERE}/db")
    assert list(tmp_path.iterdir()) == []


def test_importing_and_a_migrated_database_need_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/metadata.db"
    MetadataStore(url).migrate()
    program = (
        "import sys; from dataops_assets.metadata.store import MetadataStore; MetadataStore(sys.argv[1]).migrate(); "
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "False"
