"""What Azure ML does with a model beside scoring in batches: refused, each by its name."""

from __future__ import annotations

from typing import Any, NoReturn

from batchmill.workspace.exceptions import UserErrorException

INSTEAD = "Batchmill scores in batches and runs no web services: use batchmill run, or a ParallelRunStep."


def _refuse(name: str, instead: str = INSTEAD) -> NoReturn:
    raise UserErrorException(f"Model.{name} is not part of Batchmill. {instead}")


class ModelServices:
    """The methods of Azure ML's ``Model`` that have to do with web services, images and signed URLs."""

    @staticmethod
    def deploy(*arguments: Any, **keywords: Any) -> NoReturn:
        """Refused: web services are not part of Batchmill."""
        _refuse("deploy")

    @staticmethod
    def package(*arguments: Any, **keywords: Any) -> NoReturn:
        """Refused: images are not part of Batchmill."""
        _refuse("package")

    @staticmethod
    def profile(*arguments: Any, **keywords: Any) -> NoReturn:
        """Refused: `batchmill plan --try N` measures a script on its data."""
        _refuse("profile", "batchmill plan SCRIPT --input ... --try N measures a script on its data.")

    def print_configuration(self, *arguments: Any, **keywords: Any) -> NoReturn:
        """Refused: web services are not part of Batchmill."""
        _refuse("print_configuration")

    def get_sas_urls(self) -> NoReturn:
        """Refused: whoever holds such a URL could read the model without asking Batchmill."""
        _refuse("get_sas_urls", "Get the files with model.download(), or batchmill model download.")
