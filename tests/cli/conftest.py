from __future__ import annotations

import pytest

from evalkit import cli


@pytest.fixture
def call(capsys):
    """Run one command; return its exit code, what it printed and what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run
