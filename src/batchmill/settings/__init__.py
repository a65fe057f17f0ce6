"""The settings of a run, as the rest of Batchmill holds them; `declared` says what there is, `plain` checks the usual ones quickly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.settings.flag import Flag
from batchmill.settings.plain import complete
from batchmill.settings.sizes import parse_size

if TYPE_CHECKING:
    from batchmill.settings.declared import RunSettings

__all__ = ["Flag", "RunSettings", "parse_size"]


class _Declared:
    """An attribute of the declaring class, which is loaded when it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        from batchmill.settings.declared import RunSettings as Declared

        return getattr(Declared, self._name)


class _RunSettings:
    """Validated settings as attributes: what the declaring class makes of the values, which is not loaded for plain ones."""

    model_fields = _Declared()

    def __init__(self, **values: Any) -> None:
        found = complete(values)
        if found is None:
            from batchmill.settings.declared import RunSettings as Declared

            found = dict(Declared(**values))
        self.__dict__.update(found)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> _RunSettings:
        """Validate user-given values.

        Raises:
            SettingError: one line naming the setting, the value and the rule.
        """
        if complete(values) is not None:
            return cls(**values)
        from batchmill.settings.declared import RunSettings as Declared

        return cls._of(dict(Declared.parse(dict(values))))

    @classmethod
    def _of(cls, values: dict[str, Any]) -> _RunSettings:
        settings = cls.__new__(cls)
        settings.__dict__.update(values)
        return settings

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """All settings by name, as JSON knows them."""
        return {name: value.copy() if isinstance(value, (list, dict)) else value for name, value in self.__dict__.items()}

    def model_copy(self, *, update: Mapping[str, Any]) -> _RunSettings:
        """The same with some settings changed; the new ones are taken as they are."""
        return self._of({**self.model_dump(), **update})

    def to_json(self) -> str:
        return json.dumps(self.model_dump())

    @classmethod
    def from_json(cls, text: str) -> _RunSettings:
        return cls(**json.loads(text))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings do not change: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _RunSettings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment] # they hold lists

    def __repr__(self) -> str:
        return f"RunSettings({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


if not TYPE_CHECKING:
    RunSettings = _RunSettings
