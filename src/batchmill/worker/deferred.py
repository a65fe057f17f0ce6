"""Names that a script may import in any environment, and that become the classes they stand for when they are used.

An entry script often imports more of the SDK than its run needs, and the environment of a step need not hold what a workspace needs
(a database, tables). So importing never fails; using a name there says what is missing.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

NEEDED = ("sqlalchemy", "alembic", "cryptography", "obstore")
"""What a workspace cannot be opened without; its modules load them when they need them."""


class Deferred(type):
    """The metaclass of a class that stands for another one: ``class Dataset(metaclass=Deferred, home="batchmill.workspace.dataset")``."""

    home: str

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], home: str) -> Deferred:
        made = super().__new__(cls, name, bases, namespace)
        type.__setattr__(made, "home", home)
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], home: str) -> None:
        super().__init__(name, bases, namespace)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(real(cls.home, cls.__name__), name)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return real(cls.home, cls.__name__)(*arguments, **keywords)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, real(cls.home, cls.__name__))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls or issubclass(subclass, real(cls.home, cls.__name__))


def real(home: str, name: str) -> Any:
    """What ``name`` stands for.

    Raises:
        ImportError: this environment lacks something that it needs; the message names it.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise _unusable(name, "it lacks " + ", ".join(missing))
    try:
        return getattr(importlib.import_module(home), name)
    except Exception as error:  # an older Python may not even be able to read the module
        raise _unusable(name, f"{type(error).__name__}: {error}") from error


def _unusable(name: str, cause: str) -> ImportError:
    return ImportError(
        f"{name} of the azureml names cannot be used in this environment: {cause}. Model.get_model_path and EntryScript work in every "
        "environment; for the rest, put azureml-core among the pip packages of the step's environment, or run with "
        "--environments current.",
        name=name,
    )
