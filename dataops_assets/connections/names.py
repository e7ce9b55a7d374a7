"""Leaves out files by their names: unfinished, hidden and backup files, and near misses of a pattern.

A near miss is a name that the pattern misses by accident: `*.csv` does not match `A.CSV`, `a.csv.gz` and `a.csv.bak`.
"""

from __future__ import annotations

import re
import unicodedata

from fsspec.utils import glob_translate

_HIDDEN = "its name begins with {!r}, as those of hidden files, markers and lock files do"
_UNFINISHED = "it looks unfinished or temporary: its name ends with {!r}"
_BACKUP = "it looks like a backup: its name ends with {!r}"
_DESKTOP = "it is a settings file that a desktop writes into folders"
_HIDDEN_START = (".", "_", "~")
_UNFINISHED_END = re.compile(
    r"(\.(?:tmp|temp|part|partial|crdownload|download|opdownload|filepart|in-?progress|incomplete|uploading|writing"
    r"|aria2|lock|lck|!ut|_copying_|sw[nopx]))$",
    re.IGNORECASE,
)
_BACKUP_END = re.compile(r"(~|\.(?:bak|bkp|back|backup|old|orig)\d*)$", re.IGNORECASE)
_OF_DESKTOPS = ("thumbs.db", "desktop.ini")
# no rule below concerns a name with one of these endings that begins like a word
_USUAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+=-]*\.(?:csv|tsv|txt|jsonl?|xml|xlsx|parquet|avro|orc)")
_PACKED = (".gz", ".gzip", ".zip", ".zst", ".zstd", ".bz2", ".xz")
_START = re.compile(r"^(?:\.~lock\.|\.#|~\$|#|[._~]+)")
_END = re.compile(rf"(?:#|\.~\d+~|{_UNFINISHED_END.pattern[:-1]}|{_BACKUP_END.pattern[:-1]})$", re.IGNORECASE)


def unfinished(name: str) -> str:
    """Return why a file or folder of this name is not taken; empty if it is taken."""
    if _USUAL.fullmatch(name):
        return ""
    if name.lower() in _OF_DESKTOPS:
        return _DESKTOP
    if name.startswith("#") and name.endswith("#"):
        return _BACKUP.format("#")
    bare = _unpacked(name)
    if found := _UNFINISHED_END.search(bare):
        return _UNFINISHED.format(found[1])
    if found := _BACKUP_END.search(bare):
        return _BACKUP.format(found[1])
    if name.startswith(_HIDDEN_START):
        return _HIDDEN.format(name[0])
    return ""


class Pattern:
    """A pattern of paths, which also detects names that miss it by accident."""

    def __init__(self, path: str) -> None:
        """`path` has wildcards as fsspec reads them."""
        self._exact = re.compile(glob_translate(path))
        self._close = re.compile(glob_translate(unicodedata.normalize("NFC", path)), re.IGNORECASE)
        self._packed = next((ending for ending in _PACKED if path.lower().endswith(ending)), "")

    def matches(self, path: str) -> bool:
        """Return whether the pattern names this path."""
        return self._exact.match(path) is not None

    def nearly(self, path: str) -> bool:
        """Return whether the path would match without additions of editors, browsers and packers, or in another case.

        Another case also means another Unicode form, and a name without the blanks around it.
        """
        folder, slash, name = unicodedata.normalize("NFC", path).rpartition("/")
        bare = _bare(name)
        # rsync writes .name.Xy12
        names = {name.strip(), bare, _unpacked(bare), f"{_unpacked(bare)}{self._packed}"}
        if name.startswith("."):
            names.add(bare.rpartition(".")[0])
        return any(each and self._close.match(f"{folder}{slash}{each}") for each in names)


def _unpacked(name: str) -> str:
    ending = next((ending for ending in _PACKED if name.lower().endswith(ending)), "")
    return name.removesuffix(name[len(name) - len(ending) :]) if ending else name


def _bare(name: str) -> str:
    """Return a name without added prefixes and suffixes."""
    bare = _START.sub("", name.strip())
    while (shorter := _END.sub("", _unpacked(bare)).strip()) not in (_unpacked(bare), bare):
        bare = shorter
    return bare
