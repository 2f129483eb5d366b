"""Answers judged by a model: what it is asked, what came of it, what it cost, how far it can be trusted."""
