"""Providers of models: where an API is, how it is spoken to, what is tried again."""
