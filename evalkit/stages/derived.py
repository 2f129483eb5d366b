"""Models made from other models: exported, quantised, distilled, fine-tuned. Each is made once and kept."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit import fingerprint
from evalkit.errors import InputError
from evalkit.paths import models_dir

_one_at_a_time = threading.Lock()


def derived(recipe: Any, make: Callable[[Path], None]) -> Path:
    """Return the folder of a derived model; `make` fills it if no earlier run has.

    Parameters
    ----------
    recipe
        What the model is made from and how, down to the versions of the packages that make it: anything that
        `fingerprint.digest` takes. Equal recipes must give equal models.
    make : function
        Writes the model's files into the folder that it is given. The folder appears under its final name when
        `make` has returned, so a killed process leaves nothing half-made behind that name.

    Raises
    ------
    InputError
        If the folder of models cannot be written.
    """
    folder = models_dir() / fingerprint.digest(recipe)
    with _one_at_a_time:
        if folder.is_dir():
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".", suffix=".part"))
        except OSError as error:
            raise InputError(
                f"models {folder.parent}: cannot be written ({error.strerror}); set EVALKIT_MODELS to another folder"
            ) from None
        try:
            make(part)
            part.chmod(0o755)
            os.replace(part, folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same model
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder
