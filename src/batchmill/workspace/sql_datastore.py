"""Datastores that are SQL databases: what ``Dataset.Tabular.from_sql_query`` reads from."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from batchmill.workspace.abstract_datastore import AbstractDatastore
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from sqlalchemy import URL

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
EXAMPLES = "sqlite:////data/sales.db or postgresql://USER@HOST/DATABASE"
CONNECT_SECONDS = 10


class SqlDatastore(AbstractDatastore):
    """A database of SQLite or PostgreSQL."""

    datastore_type = "SqlDatabase"
    shown: ClassVar[tuple[str, ...]] = ("url",)
    changeable = ("password",)

    @property
    def whereabouts(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """Its address, without the password."""
        return str(self._fact("url"))

    @cached_property
    def _parts(self) -> URL:
        from sqlalchemy import make_url

        return make_url(self.url)

    @property
    def server_name(self) -> str | None:
        name: str | None = self._fact("server_name") or self._parts.host
        return name

    @property
    def database_name(self) -> str | None:
        return self._parts.database

    @property
    def user_id(self) -> str | None:
        return self._parts.username

    @property
    def user_password(self) -> str | None:
        """The password, in the clear.

        Raises:
            SecretError: it cannot be read.
        """
        return self._reveal("password")

    @property
    def port_number(self) -> int | None:
        return self._parts.port

    @property
    def engine_url(self) -> str:
        """What ``sqlalchemy.create_engine`` takes, the password included: never to be printed.

        Raises:
            SecretError: the password cannot be read.
        """
        return self._parts.set(password=self.user_password).render_as_string(hide_password=False)

    def connect(self) -> str:
        """Make the database known to this process; returns the text by which `data.sql_query` finds it.

        Raises:
            SecretError: the password cannot be read.
        """
        from batchmill.storage.connections import Connection, connect

        key = f"{self.workspace.name}:{self.name}"
        password = self.user_password
        credentials = {} if password is None else {"password": password}
        connect(key, Connection("sql", config={"url": self.url}, credentials=credentials, title=f"datastore '{self.name}'"))
        return f"datastore://{key}"

    @property
    def _is_file(self) -> bool:
        return self._parts.get_backend_name() == "sqlite"

    def check(self) -> None:
        """Ask the database for nothing, to see that it answers.

        Raises:
            UserErrorException: it does not.
        """
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

        if self._is_file and not os.path.isfile(self.database_name or ""):
            raise UserErrorException(f"Database {self.url} cannot be used: there is no such file. Check the path.")
        # SQLite opens anything; only a look inside tells.
        look, options = (
            ("SELECT name FROM sqlite_master LIMIT 1", {}) if self._is_file else ("SELECT 1", {"connect_timeout": CONNECT_SECONDS})
        )
        try:
            engine = create_engine(self.engine_url, connect_args=options)
            try:
                with engine.connect() as connection:
                    connection.execute(text(look))
            finally:
                engine.dispose()
        except (DBAPIError, ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise UserErrorException(f"Database {self.url} cannot be used: {self._cause(error)}") from None

    def _cause(self, error: Exception) -> str:
        if isinstance(error, ModuleNotFoundError):
            return "its driver is not installed. Install it: pip install 'batchmill[postgres]'"
        line = " ".join(str(getattr(error, "orig", None) or error).split())
        password = self.user_password
        line = line.replace(password, "***") if password else line
        return f"{line[:200].rstrip('.')}. Check its address, user and password."


class AzurePostgreSqlDatastore(SqlDatastore):
    """A PostgreSQL database (Azure ML: ``azureml.data.azure_postgre_sql_datastore.AzurePostgreSqlDatastore``)."""

    datastore_type = "AzurePostgreSql"
    shown = ("server_name", "database_name", "user_id", "port_number")


def plain_url(text: str) -> tuple[str, str | None]:
    """A database URL with the driver that Batchmill uses and without its password, and the password.

    Raises:
        UserErrorException: it is no URL of SQLite or PostgreSQL.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
        driver = DRIVERS[url.get_backend_name()]
    except (ArgumentError, KeyError):
        kind = text.partition("://")[0] if "://" in text else ""
        what = f"'{kind}' is no kind of database that Batchmill reads" if kind else "The URL of the database cannot be read"
        raise UserErrorException(f"{what}. Write {EXAMPLES}.") from None
    if driver == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UserErrorException("An SQLite database is a file. Write sqlite:////absolute/path.db.")
        url = url.set(database=os.path.abspath(url.database))
    password: Any = url.password or url.query.get("password")
    plain = url.set(drivername=driver)._replace(password=None).difference_update_query(["password"])
    return plain.render_as_string(), str(password) if password is not None else None
