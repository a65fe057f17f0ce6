"""`PythonSection`: interpreter and packages of an environment (Azure ML: ``environment.python``)."""

from __future__ import annotations

from typing import Any

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.exceptions import UserErrorException


class PythonSection:
    """Which Python runs the script, and what is installed for it.

    ``user_managed_dependencies``: run ``interpreter_path`` as it is and install nothing.
    """

    def __init__(self) -> None:
        self.interpreter_path = "python"
        self.user_managed_dependencies = False
        self._conda_dependencies: CondaDependencies | None = CondaDependencies()
        self.conda_dependencies_file: str | None = None
        self.base_conda_environment: str | None = None

    @property
    def conda_dependencies(self) -> CondaDependencies | None:
        """The packages; ``conda_dependencies_file``, where set, goes before."""
        return self._conda_dependencies

    @conda_dependencies.setter
    def conda_dependencies(self, value: CondaDependencies | None) -> None:
        if value is not None and not isinstance(value, CondaDependencies):
            raise UserErrorException(f"conda_dependencies expected CondaDependencies, {type(value)} found")
        self._conda_dependencies = value

    def dependencies(self) -> CondaDependencies:
        """The packages that count: those of the file where one is set.

        Raises:
            UserErrorException: the file is missing or broken.
        """
        if self.conda_dependencies_file:
            return CondaDependencies(conda_dependencies_file_path=self.conda_dependencies_file)
        return self._conda_dependencies or CondaDependencies(_underlying_structure={"name": "project_environment", "dependencies": []})

    def to_dict(self, *, secrets: bool = False) -> dict[str, Any]:
        """The camelCase form; with ``secrets`` the credentials of package indexes are in it."""
        packages = self._conda_dependencies
        return {
            "userManagedDependencies": self.user_managed_dependencies,
            "interpreterPath": self.interpreter_path,
            "condaDependenciesFile": self.conda_dependencies_file,
            "baseCondaEnvironment": self.base_conda_environment,
            "condaDependencies": None if packages is None else packages.as_dict() if secrets else packages.shown(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> PythonSection:
        """Read the camelCase form; what is not in it has its default."""
        section, values = cls(), values or {}
        section.user_managed_dependencies = bool(values.get("userManagedDependencies", False))
        section.interpreter_path = values.get("interpreterPath") or "python"
        section.conda_dependencies_file = values.get("condaDependenciesFile")
        section.base_conda_environment = values.get("baseCondaEnvironment")
        if "condaDependencies" in values:
            packages = values["condaDependencies"]
            section._conda_dependencies = None if packages is None else CondaDependencies(_underlying_structure=packages)
        return section
