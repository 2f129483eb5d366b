"""The command line, `evalkit`."""

from evalkit.cli.main import main

__all__ = ["main"]
