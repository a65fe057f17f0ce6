"""The steps that bring a database of workspaces up to date: one file each in ``versions``, named after its number.

The newest number is read from the file names, so that a program that finds its database current never loads Alembic.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).parent
STEP = re.compile(r"v(\d{4})_\w+\.py")


@cache
def revisions() -> tuple[str, ...]:
    """The numbers of all steps, oldest first: ``("0001", ...)``."""
    names = (STEP.fullmatch(path.name) for path in (FOLDER / "versions").iterdir())
    return tuple(sorted(match[1] for match in names if match))


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Take the steps that are missing, within the transaction of the connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
