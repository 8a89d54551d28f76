import lib  # noqa: F401  # lib first: what it sets for the process must stand before anything imports numpy or torch
