"""How a setting looks on the command line."""

from __future__ import annotations


class Flag:
    """How a setting looks on the command line, where it differs from ``--name-of-the-setting``."""

    def __init__(self, name: str | None = None, *, off: str | None = None, metavar: str | None = None, group: str = "Run") -> None:
        self.name, self.off, self.metavar, self.group = name, off, metavar, group
