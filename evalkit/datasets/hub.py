"""One data set of Hugging Face's hub, or a folder like one, read through the package ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from evalkit.datasets.rows import Row
from evalkit.errors import InputError, nearest
from evalkit.paths import resolve

_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w.-]+))?")
_SECONDS = 10.0
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Hub:
    """Reads configurations, splits and rows.

    The hub is asked once whether it has the data set. If it cannot be reached, what was loaded before is read from
    the cache of ``datasets``, and nothing is tried again. For a folder nothing is asked.

    Parameters
    ----------
    text : str
        The data set as it was named, for errors.
    name : str
        ``owner/name``, or the folder's name.
    config : str or None
        The configuration that was named.
    folder : Path or None
    away : str
        Why the hub is not to be asked; empty if it is.
    """

    text: str
    name: str
    config: str | None
    folder: Path | None
    away: str

    @classmethod
    def of(cls, text: str, named: str) -> Hub:
        """Find a data set by ``owner/name[/configuration]`` or by a folder's path in place of ``owner/name``.

        Raises
        ------
        InputError
            If it is neither, the hub has no such data set, or the package is missing.
        """
        _package(text)
        folder = resolve(named)
        if named and folder.is_dir():
            return cls(text, folder.name, None, folder, "a folder")
        card = folder.parent / "README.md"
        if card.is_file() and re.search(rf"config_name: *['\"]?{re.escape(folder.name)}\b", card.read_text("utf-8")):
            return cls(text, folder.parent.name, folder.name, folder.parent, "a folder")
        found = _NAME.fullmatch(named)
        if not found:
            raise InputError(f"data set {text}: neither owner/name of the hub nor a folder ({folder})")
        return cls(text, found[1], found[2], None, _away(text, found[1]))

    def configs(self) -> list[str]:
        """Return the names of the configurations; without the hub, of those in the cache."""
        datasets = _package(self.text)
        if self.folder is None and self.away:
            owner, _, name = self.name.partition("/")
            cache = (
                Path(datasets.config.HF_DATASETS_CACHE) / f"{owner}___{datasets.naming.camelcase_to_snakecase(name)}"
            )
            found = sorted({path.parents[2].name for path in cache.glob("*/*/*/dataset_info.json")})
            if not found:
                raise InputError(
                    f"data set {self.text}: not in the cache, and {self.away}; load it once with the hub, "
                    "or name a folder: huggingface:path/to/folder"
                )
            return found
        with self._told():
            return list(datasets.get_dataset_config_names(self._path))

    def splits(self, config: str) -> list[str]:
        """Return the names of a configuration's splits."""
        datasets = _package(self.text)
        with self._told():
            return [str(name) for name in datasets.get_dataset_split_names(self._path, config)]

    def rows(self, config: str, split: str) -> Iterator[Row]:
        """Yield the rows of a split; missing values are left out."""
        datasets = _package(self.text)
        with self._told():
            data = datasets.load_dataset(self._path, config, split=split)
        number = 0
        for batch in data.iter(batch_size=_ROWS_AT_ONCE):
            for values in zip(*batch.values(), strict=True):
                number += 1
                record = {key: value for key, value in zip(batch, values, strict=True) if value is not None}
                yield Row(f"{self.text}: {config} {split} row {number}", record)

    def only(self, what: str, named: str | None, known: list[str], usual: str) -> str:
        """Return the name that was given or, where none was, the usual or the only one.

        Raises
        ------
        InputError
            If there is none such, or a choice is to be made.
        """
        if named is not None and named not in known:
            raise InputError(f"data set {self.text}: no {what} '{named}'{nearest(named, known)}")
        if named is None and usual not in known and len(known) != 1:
            raise InputError(f"data set {self.text}: which {what}? known: {', '.join(known)}")
        return named or (usual if usual in known else known[0])

    @property
    def _path(self) -> str:
        return str(self.folder) if self.folder else f"hf://datasets/{self.name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn whatever goes wrong in the package into one line, and keep it from the network where that is away."""
        datasets = _package(self.text)
        before, bars = datasets.config.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()
        datasets.config.HF_HUB_OFFLINE = before or bool(self.away)
        if self.away:
            datasets.disable_progress_bars()
        try:
            yield
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            raise InputError(f"data set {self.text}: {type(error).__name__}: {first}") from None
        finally:
            datasets.config.HF_HUB_OFFLINE = before
            if self.away and not bars:
                datasets.enable_progress_bars()


def _package(text: str) -> Any:
    """Import the package: not a folder of that name, which Python would take as one without content."""
    try:
        import_module("datasets.load")
        return import_module("datasets")
    except ImportError:
        raise InputError(f"data set {text}: this needs the package datasets; pip install datasets") from None


def _away(text: str, name: str) -> str:
    """Ask the hub for a data set; returns why it cannot be asked, or nothing.

    Raises
    ------
    InputError
        If it answers that it has none such.
    """
    datasets = _package(text)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

    if datasets.config.HF_HUB_OFFLINE:
        return "the hub is switched off (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE)"
    try:
        HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, timeout=_SECONDS)
    except RepositoryNotFoundError:
        raise InputError(
            f"data set {text}: the hub has no '{name}', or not for you; check the name, or log in: hf auth login"
        ) from None
    except OfflineModeIsEnabled:
        return "the hub is switched off (HF_HUB_OFFLINE)"
    except Exception as error:  # whatever the HTTP client of the day raises
        return f"the hub cannot be reached ({type(error).__name__})"
    return ""
