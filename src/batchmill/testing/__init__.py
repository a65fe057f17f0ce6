"""For the unit tests of entry scripts: run one in the test process on a few items, and check that it keeps the contract.

>>> from batchmill.testing import check_contract, run_script
>>> run_script("score.py", ["images/1.png", "images/2.png"]).rows  # doctest: +SKIP
['1.png: 7', '2.png: 3']
>>> check_contract("score.py", ["images/1.png", "images/2.png"])   # doctest: +SKIP
ContractReport(script='score.py', ...)
"""

from __future__ import annotations

from batchmill.errors import ContractError
from batchmill.testing.contract import CHECKS, ContractReport, check_contract
from batchmill.testing.in_process import ScriptResult, run_script

__all__ = ["CHECKS", "ContractError", "ContractReport", "ScriptResult", "check_contract", "run_script"]
