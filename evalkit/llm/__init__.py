"""Generators: from a prompt to an answer. Everything in ``__all__`` can be named in a spec."""

from evalkit.llm.claude import Claude
from evalkit.llm.extractive import Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.messages import Breakpoints, Chat
from evalkit.llm.modelled import Modelled
from evalkit.llm.openai_compatible import OpenAICompatible
from evalkit.llm.replayed import Replayed

__all__ = ["Breakpoints", "Chat", "Claude", "Extractive", "Modelled", "OpenAICompatible", "Profile", "Replayed"]
