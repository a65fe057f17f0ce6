"""Models in an entry script."""

from __future__ import annotations

from typing import Any, Optional

from batchmill.worker.deferred import Deferred, real
from batchmill.worker.model_path import model_path
from batchmill.worker.questions import Refusal, in_run
from batchmill.workspace import exceptions


class Model(metaclass=Deferred, home="batchmill.workspace.model"):
    """`get_model_path` needs nothing but the run; for everything else this stands for `batchmill.workspace.model.Model`."""

    @staticmethod
    def get_model_path(model_name: str, version: Optional[int] = None, _workspace: Any = None) -> str:
        """The path of a registered model: of its file, or of the folder that holds its files.

        Raises:
            ModelNotFoundException: there is no such model, or no such version.
            WebserviceException: ``version`` is no int, or the model cannot be fetched.

        Example:
            >>> Model.get_model_path("mnist")  # doctest: +SKIP
            '/.../azureml-models/mnist/1/models'
        """
        if _workspace is not None and not in_run():
            return str(real(Model.home, "Model").get_model_path(model_name, version, _workspace))
        try:
            return model_path(model_name, version)
        except Refusal as refusal:
            raise exceptions.by_name(refusal.kind)(refusal.message) from None
