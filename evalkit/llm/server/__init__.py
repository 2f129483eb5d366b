"""A Messages API server on loopback, in front of any generator: for tests over a real socket and for dry runs.

It speaks as ``api.anthropic.com`` does, in its errors too; what it costs is counted and nothing is spent.
"""

from evalkit.llm.server.app import FakeClaude, MessagesAPI
from evalkit.llm.server.faults import Fault, Faults
from evalkit.llm.server.ledger import Ledger, Served
from evalkit.llm.server.limits import Limits
from evalkit.llm.server.run import Running, serve, serving

__all__ = [
    "FakeClaude",
    "Fault",
    "Faults",
    "Ledger",
    "Limits",
    "MessagesAPI",
    "Running",
    "Served",
    "serve",
    "serving",
]
