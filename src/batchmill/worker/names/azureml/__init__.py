"""The ``azureml`` names that scripts of a run import; what is installed under this name is found behind them."""

import os
import sys
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

if "batchmill" not in sys.modules:  # in a script of a step, whose interpreter need not have Batchmill
    from importlib.util import module_from_spec, spec_from_file_location

    _package = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
    _spec = spec_from_file_location("batchmill", os.path.join(_package, "__init__.py"), submodule_search_locations=[_package])
    if _spec is None or _spec.loader is None:
        raise ImportError(f"Batchmill's package folder {_package} cannot be read.")
    sys.modules["batchmill"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["batchmill"])
