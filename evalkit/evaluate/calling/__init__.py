"""Calls to models within a run: made once, kept at once, within a limit, recorded and billed."""
