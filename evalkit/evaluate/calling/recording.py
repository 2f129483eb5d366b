"""A store whose calls to models go into a cassette, or come out of one."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from evalkit import fingerprint
from evalkit.errors import EvalkitError, InputError
from evalkit.evaluate.calling.journal import Calls
from evalkit.llm.cassettes import ENDING, Cassette, Row, Rows, failed, kind_of, missed, write, write_row
from evalkit.llm.cassettes.secrets import Secrets
from evalkit.paths import store_dir
from evalkit.store import DiskStore
from evalkit.store.files import alone
from evalkit.types import Digest, Origin, Store
from evalkit.values import Value

log = logging.getLogger("evalkit")

Mode = Literal["record", "replay", "refresh", "replay-or-fail"]


def cassette(path: str | os.PathLike[str], mode: Mode = "record", store: Store | None = None) -> Recording:
    """Return a store for a run whose calls to models go into a cassette, or come out of one.

    ``with ek.cassette("claude.jsonl.gz") as store: ek.run(..., store=store)``; the file is written when that ends.

    Parameters
    ----------
    path : path
        Ends in ``.jsonl.gz``.
    mode : {"record", "replay", "refresh", "replay-or-fail"}
        As `Recording` says.
    store : Store, optional
        For all that is no call; default: the project's.
    """
    return Recording(store if store is not None else DiskStore(store_dir()), path, mode)


class Recording:
    """A store with a cassette in the place of its journal's calls.

    Calls are those of generators and of embedders that cost money. All else goes to the store as ever. Results that
    rest on a call are not taken from the store, so that the cassette alone is what they come from.

    - record: what the cassette lacks is called for, or taken from the journal if an earlier run was killed after the
      call, and added.
    - refresh: everything is called for anew, once a run, and takes the recorded call's place. What this run does not
      ask for stays, and what gets no answer keeps its old one.
    - replay: answered from the cassette, failures and broken streams included; what it lacks is called for, and not
      added. The journal is not asked, so that a replay without a call proves the cassette whole.
    - replay-or-fail: what it lacks is an error that names the nearest recorded call, and what differs.

    Every call that is made is in the store's journal before anyone sees its answer; the file is written once, by
    `close`, or at the end of a ``with`` block, also after an error or an interrupt. For threads of one process; the
    replaying modes also for the workers of a cluster.

    Parameters
    ----------
    store : Store
    path : path
        Ends in ``.jsonl.gz``.
    mode : {"record", "replay", "refresh", "replay-or-fail"}

    Attributes
    ----------
    cassette : Path
    answered, called, journalled : int
        Calls answered from the cassette; made; made by an earlier run that was killed before it wrote them.
    finished : bool
        To be set to False by whoever knows that the run ended early: a refresh that did is gone on with by the next.

    Raises
    ------
    InputError
        If the cassette is missing where it is needed, damaged, or not to be written; nothing was called for then.
    """

    def __init__(self, store: Store, path: str | os.PathLike[str], mode: Mode = "record") -> None:
        if mode not in get_args(Mode):
            raise InputError(f"cassette mode '{mode}': is none of {', '.join(get_args(Mode))}")
        self.store, self.cassette, self.mode = store, Path(path), mode
        if not self.cassette.name.endswith(ENDING):
            raise InputError(f"{self.cassette}: a cassette's name ends in {ENDING}")
        self.answered, self.called, self.journalled, self.finished = 0, 0, 0, True
        self._known: Cassette | None = None
        if not self.records or self.cassette.exists():
            self._known = Cassette.open(self.cassette)
        if self.records:
            _check_writable(self.cassette)
        self._refresh = self._name_refresh() if mode == "refresh" else ""
        self._secrets = Secrets.known()
        self._made = Rows()
        self._lock = threading.Lock()

    @property
    def records(self) -> bool:
        """Whether the cassette is written; if so, its calls are those of one process."""
        return self.mode in ("record", "refresh")

    def __repr__(self) -> str:
        where = getattr(self.store, "folder", self.store)
        return f"Recording({where}, {self.cassette}, {self.mode}, {self._known.content if self._known else ''})"

    def __reduce__(self) -> tuple[type[Recording], tuple[Store, Path, Mode]]:
        if self.records:
            raise InputError(f"{self.cassette}: a cassette is recorded by one process; leave out the cluster")
        return type(self), (self.store, self.cassette, self.mode)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finished &= error is None
            self.close()
        except EvalkitError as fault:
            if error is None:
                raise
            log.error("%s", fault)  # what ended the run is said too

    def get(self, action: Digest) -> tuple[Digest, Origin] | None:
        """As the store."""
        return self.store.get(action)

    def put(self, action: Digest, value: Value, origin: Origin, note: Mapping[str, Any]) -> Digest:
        """As the store."""
        return self.store.put(action, value, origin, note)

    def add(self, value: Value) -> Digest:
        """As the store."""
        return self.store.add(value)

    def load(self, content: Digest) -> Value:
        """As the store."""
        return self.store.load(content)

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        """As the store: rows that are no calls of models, such as vectors of an embedder on this machine."""
        return self.store.recall(keys)

    def record(self, key: Digest, entry: Mapping[str, Any]) -> None:
        """As the store."""
        self.store.record(key, entry)

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        """As the store."""
        self.store.record_all(entries)

    def calls(self) -> Calls:
        """Return the calls as one node finds and keeps them."""
        return _Recorded(self)

    def told(self) -> str:
        """Say in one line what came out of the cassette and what went into it."""
        parts = [f"{self.answered:,} answered from it"] if self.mode != "refresh" else []
        parts.append(f"{self.called:,} called for{'' if self.records else ' and not added'}")
        if self.journalled:
            parts.append(f"{self.journalled:,} taken from the journal")
        return f"{self.cassette}: {', '.join(parts)}"

    def plain(self) -> dict[str, Any]:
        """Return what a manifest says of it, as JSON-ready data."""
        content = self._known.content if self._known else ""
        counts = {"answered": self.answered, "called": self.called}
        return {"cassette": self.cassette.name, "content": content, "mode": self.mode, **counts}

    def close(self) -> None:
        """Write the file, if it records and something was called for. May be called again.

        Raises
        ------
        InputError
            If a secret was about to be written: with the line and the field. The file stays as it was.
        EvalkitError
            If the disk is full.
        """
        if self.records and len(self._made):
            with alone(self.cassette.parent):
                known = Cassette.open(self.cassette) if self.cassette.exists() else None  # others may have added
                write(self.cassette, lambda: self._merged(known), "" if self.finished else self._refresh)
            if self.finished and self._refresh:
                self.store.record(_ended(self._refresh), {"refreshed": self.cassette.name})

    def _merged(self, known: Cassette | None) -> Iterator[Row]:
        """Yield what was recorded and what was made, in the order of keys."""
        made = iter(self._made)
        next_made = next(made, None)
        for row in known.rows if known else ():
            while next_made is not None and next_made[0] < row[0]:
                yield next_made
                next_made = next(made, None)
            if next_made is not None and next_made[0] == row[0]:
                yield next_made if self.mode == "refresh" else row
                next_made = next(made, None)
            elif not (self.mode == "refresh" and row[1] and self._made.find([row[1]])):
                yield row
        if next_made is not None:
            yield next_made
        yield from made

    def _name_refresh(self) -> Digest:
        """Name this refresh, whose rows the journal keeps apart; one that was cut short is gone on with."""
        header = self._known.header if self._known else None
        if header is not None and header.refreshing:
            return header.refreshing
        begun = (fingerprint.digest(["refresh", header.sum if header else "", n]) for n in count())
        return next(name for name in begun if not self.store.recall([_ended(name)]))

    def _journalled(self, key: Digest) -> Digest:
        return fingerprint.digest(["refreshed", self._refresh, key]) if self._refresh else key

    def _recall(self, keys: list[Digest]) -> tuple[dict[Digest, dict[str, Any]], bool]:
        """Return entries, and whether the cassette had any of them."""
        found = self._made.recall(keys)
        old: dict[Digest, dict[str, Any]] = {}
        if self._known is not None and self.mode != "refresh":
            old = self._known.recall([key for key in keys if key not in found])
        if self.records and (left := {self._journalled(k): k for k in keys if k not in found and k not in old}):
            picked = {left[name]: entry for name, entry in self.store.recall(list(left)).items()}
            found |= picked
            self._count(journalled=self._keep(picked))
        self._count(answered=len(old))
        return {**found, **old}, bool(old)

    def _record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        self.store.record_all({self._journalled(key): entry for key, entry in entries.items()})
        self._count(called=self._keep(entries))

    def _count(self, answered: int = 0, called: int = 0, journalled: int = 0) -> None:
        with self._lock:
            self.answered += answered
            self.called += called
            self.journalled += journalled

    def _keep(self, entries: Mapping[Digest, Mapping[str, Any]]) -> int:
        """Keep what are calls, not notes of batches; returns how many."""
        calls = {key: entry for key, entry in entries.items() if kind_of(entry) is not None}
        if calls:
            self._made.add((key, entry.get("of", ""), write_row(key, entry)) for key, entry in calls.items())
        return len(calls)

    def _before(self, key: Digest, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self.records:
            if found := self._secrets.find(asked):
                field, what = found
                raise InputError(f"{self.cassette}: not recorded: {field} holds {what}; take it out of the data")
            return None
        assert self._known is not None  # noqa: S101 - these modes have opened it
        entry = self._known.given_up(key)
        if entry is not None:
            self._count(answered=1)
            if "error" in entry:
                raise failed(entry)
        elif self.mode == "replay-or-fail":
            raise missed(self._known, asked)
        return entry


class _Recorded(Calls):
    """One node's view of a recording."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self._recording = recording

    def recall(self, keys: list[Digest]) -> dict[Digest, dict[str, Any]]:
        found, replayed = self._recording._recall(keys)
        self.replayed |= replayed
        return found

    def record_all(self, entries: Mapping[Digest, Mapping[str, Any]]) -> None:
        self._recording._record_all(entries)

    def before(self, key: Digest, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
        entry = self._recording._before(key, asked)
        self.replayed |= entry is not None
        return entry


def _ended(refresh: Digest) -> Digest:
    return fingerprint.digest(["refresh ended", refresh])


def _check_writable(path: Path) -> None:
    """Find out before anything is paid for.

    Raises
    ------
    InputError
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK) or not folder.is_dir():
        raise InputError(f"{path}: cannot be written; name a file in a folder that can be")
