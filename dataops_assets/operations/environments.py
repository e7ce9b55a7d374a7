"""Private environments: the tables, inputs and metadata of a deployment at one moment, to try changes on.

An environment is a home of its own below its parent's home. Its tables begin as second names of the parent's files, so
nothing of them is copied; what it writes is its own. All commands, the daemon and the UI run in it by DATAOPS_HOME.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.engines.warehouse_copies import copy_to, published_copies
from dataops_assets.errors import CommitConflict, ConfigError, InputError, StorageError, nearest
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.storage import durable
from dataops_assets.storage.file_lock import locked
from dataops_assets.storage.links import PRIVATE, Linked, link_tree, own_bytes
from dataops_assets.storage.objects import is_remote

_FOLDER = "environments"
_NAME = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,62}$")
_ATTEMPTS = 3


@dataclass(frozen=True)
class PrivateEnvironment:
    """A private environment. `parent` and `home` are folders, `landing` is the one that its inputs come from."""

    name: str
    home: str
    parent: str
    landing: str
    created_at: dt.datetime
    created_by: str
    expires_at: dt.datetime | None = None
    # a command made it for itself, and drops it when it ends
    until_ended: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables with which commands, daemon and UI run in it."""
        return {"DATAOPS_ENV": "local", "DATAOPS_HOME": self.home, "DATAOPS_LANDING": self.landing}

    def is_expired(self, now: dt.datetime) -> bool:
        """Return whether its time has passed."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True)
class MadeEnvironment:
    """A new environment, and the files that it shares with its parent."""

    environment: PrivateEnvironment
    linked: Linked


def create(
    parent: Environment, metadata: MetadataStore, sources: Sequence[str], wanted: PrivateEnvironment
) -> MadeEnvironment:
    """Make a private environment of `parent` as it is now; `wanted` has its name, maker and end.

    It appears complete or not at all. Raises ConfigError for a name that cannot be a folder's and where storage,
    metadata or warehouse are not local files, InputError for a name that is taken, StorageError while a step runs or
    another process makes or drops the same environment.
    """
    attempted = f"making the environment {wanted.name!r}"
    _require_local(parent, wanted.name, attempted)
    with _alone(Path(wanted.home), attempted):
        return _created(parent, metadata, sources, wanted, attempted)


def _created(
    parent: Environment, metadata: MetadataStore, sources: Sequence[str], wanted: PrivateEnvironment, attempted: str
) -> MadeEnvironment:
    home = Path(wanted.home)
    if home.exists():
        raise InputError(attempted, received="an environment of this name", next_step=f"dataops env drop {wanted.name}")
    _remove_leftovers(home)
    staged = _hidden(home)
    try:
        linked = _filled(parent, metadata, sources, staged, attempted)
        content = {**asdict(wanted), "created_at": wanted.created_at.isoformat()}
        content["expires_at"] = wanted.expires_at.isoformat() if wanted.expires_at else None
        durable.replace_file(staged / PRIVATE, json.dumps(content, indent=1).encode())
        staged.rename(home)
        durable.sync_folders(home.parent)
    except OSError as error:
        raise StorageError(
            attempted,
            received=f"{type(error).__name__}: {error}",
            next_step="check that the disk is there and has room, then run the command again",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return MadeEnvironment(wanted, linked)


@contextmanager
def while_working(
    parent: Environment,
    metadata: MetadataStore,
    sources: Sequence[str],
    wanted: PrivateEnvironment,
    *,
    keep: bool = False,
) -> Iterator[PrivateEnvironment]:
    """Make an environment for the work of one command, and drop it afterwards if it is not to be kept.

    One that a killed command left is replaced. Raises as `create`, also while another command works in it.
    """
    attempted = f"making the environment {wanted.name!r}"
    _require_local(parent, wanted.name, attempted)
    home = Path(wanted.home)
    with _alone(home, attempted):
        if any(item.name == wanted.name and item.until_ended for item in environments(parent)):
            _dropped(home, attempted)
        made = _created(parent, metadata, sources, replace(wanted, until_ended=not keep), attempted).environment
        try:
            yield made
        finally:
            if not keep:
                _dropped(home, f"dropping the environment {wanted.name!r}")


def described(parent: Environment, name: str, by: str, keep: dt.timedelta | None) -> PrivateEnvironment:
    """Return the description of an environment that is made now. `keep`: how long it is kept; None: until dropped."""
    made = now()
    home = parent.home / _FOLDER / name
    return PrivateEnvironment(
        name, str(home), str(parent.home), parent.landing, made, by, made + keep if keep is not None else None
    )


def now() -> dt.datetime:
    """Return the present time in UTC."""
    return dt.datetime.now(dt.UTC)


def environments(parent: Environment) -> list[PrivateEnvironment]:
    """Return the private environments of a deployment, by name."""
    found = []
    for file in sorted((parent.home / _FOLDER).glob(f"[!.]*/{PRIVATE}")):
        content = json.loads(file.read_text())
        ends = content["expires_at"]
        content["created_at"] = dt.datetime.fromisoformat(content["created_at"])
        content["expires_at"] = dt.datetime.fromisoformat(ends) if ends else None
        found.append(PrivateEnvironment(**content))
    return found


def environment_named(parent: Environment, name: str) -> PrivateEnvironment:
    """Return one environment. Raises InputError for an unknown name."""
    known = {item.name: item for item in environments(parent)}
    if name not in known:
        hint = nearest(name, list(known)) or "dataops env list"
        raise InputError(f"finding the environment {name!r}", known=list(known), next_step=hint)
    return known[name]


def drop(item: PrivateEnvironment) -> int:
    """Remove an environment and all that it alone has; return the bytes that this frees.

    Its name is free at once; if the process is killed, the next environment of the name removes the rest. Raises
    StorageError while another process makes or drops it, or if the disk fails.
    """
    attempted = f"dropping the environment {item.name!r}"
    home = Path(item.home)
    with _alone(home, attempted):
        return _dropped(home, attempted)


def _dropped(home: Path, attempted: str) -> int:
    freed = own_bytes(home)
    gone = _hidden(home)
    try:
        home.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise StorageError(
            attempted,
            received=f"{type(error).__name__}: {error}",
            next_step="end the processes that run in it, then drop it again",
        ) from error
    return freed


@contextmanager
def _alone(home: Path, attempted: str) -> Iterator[None]:
    """Let no other process make, drop or take the environment of this home meanwhile."""
    with locked(home.with_name(f".{home.name}.lock")) as got:
        if not got:
            raise StorageError(
                attempted,
                received="another process makes it, drops it or works in it",
                next_step="wait until that process has ended, then run the command again",
            )
        yield


def _hidden(home: Path) -> Path:
    """Return the name of an environment that is being made or dropped."""
    return home.with_name(f".{home.name}.{uuid.uuid4().hex}")


def _remove_leftovers(home: Path) -> None:
    """Remove what killed processes left of the environment of this home."""
    # the whole name: `.a.b.` and digits belong to the environment `a.b`
    left = re.compile(rf"\.{re.escape(home.name)}\.[0-9a-f]{{32}}")
    for path in home.parent.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _require_local(parent: Environment, name: str, attempted: str) -> None:
    if not _NAME.match(name):
        raise ConfigError(
            attempted,
            received=f"a name that does not match {_NAME.pattern}",
            next_step="take small letters, digits, and _ . - after the first of them, 63 at most",
        )
    if is_remote(parent.storage) or parent.dbt_target != "duckdb":
        raise ConfigError(
            attempted,
            received=f"storage {parent.storage}, dbt target {parent.dbt_target}",
            known=["local storage with the embedded warehouse"],
            next_step="an object store has no hard links: copy the storage, and set DATAOPS_STORAGE to the copy",
        )


def _filled(
    parent: Environment, metadata: MetadataStore, sources: Sequence[str], staged: Path, attempted: str
) -> Linked:
    """Fill the folder of an environment with one moment of its parent: no step ran meanwhile."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        seen = metadata.releases.activity(sources)
        linked = link_tree(Path(parent.storage), staged / "storage")
        copy_to(Path(parent.warehouse), staged / "warehouse.duckdb")
        # after the storage: so each moment that it has finds its copy of the warehouse
        link_tree(published_copies(Path(parent.warehouse)), published_copies(staged / "warehouse.duckdb"))
        metadata.copy_to(staged / "metadata.db")
        if metadata.releases.activity(sources) == seen:
            return linked
    raise CommitConflict(attempted, received="steps that ran meanwhile", next_step="try again when fewer inputs arrive")
