"""How long models take: named profiles with their sources, and profiles fitted from recorded calls."""
