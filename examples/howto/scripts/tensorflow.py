"""``import tensorflow`` for entry scripts that were written for TensorFlow 1: put this file into the folder of the script.

Where TensorFlow 2 is installed, the names here are those of ``tensorflow.compat.v1``; else they are those of `numpy_graph`, which can do
the little that the how-to documents ask for. The entry script stays as it is either way.
"""

import importlib
import importlib.machinery
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
_elsewhere = [place for place in sys.path if os.path.abspath(place or os.curdir) != _here]

if importlib.machinery.PathFinder.find_spec("tensorflow", _elsewhere) is None:
    from numpy_graph import Session, reset_default_graph, train  # noqa: F401 - handed on
else:
    _mine, _path = sys.modules.pop(__name__), list(sys.path)
    sys.path[:] = _elsewhere
    try:
        _real = importlib.import_module("tensorflow")
    finally:
        sys.path[:] = _path
    _first = _real.compat.v1
    _first.disable_eager_execution()
    # What TensorFlow imports of itself later is looked for through this module.
    __path__ = list(_real.__path__)
    sys.modules[__name__] = _mine

    def __getattr__(name):
        return getattr(_first, name)
