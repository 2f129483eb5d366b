"""Routers on recorded outcomes: what each would have cost and got right, before it serves."""
