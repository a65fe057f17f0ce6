"""The ``azureml`` names that entry scripts import at run time; what is installed under this name is found behind them."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
