"""What the coordinator of a run on a cluster is told before it begins. Plain data: it travels, and Ray keeps it for a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import batchmill
from batchmill.nodes.credentials import Credentials
from batchmill.nodes.earlier_shipment import EarlierRun
from batchmill.nodes.path_proof import PathProof


@dataclass(frozen=True, slots=True)
class CoordinatorOrder:
    """``description`` is the ``settings.json`` of the run with inputs that mean the same everywhere, ``output`` the output as stores take
    it, ``snapshot`` names the content of the published snapshot. ``epoch`` is that of the ledger when the run was handed over: a
    coordinator that is started again after the run has ended in a later one does nothing. ``begin`` are the first values of a new ledger.
    ``home``: the batchmill home whose registry the run uses, where that is a file. ``earlier``: runs whose rows may be reused.
    """

    run_id: str
    description: Mapping[str, Any]
    output: str
    snapshot: str
    epoch: int
    begin: Mapping[str, str]
    proofs: tuple[PathProof, ...] = ()
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    home: str | None = None
    earlier: tuple[EarlierRun, ...] = ()
    version: str = batchmill.__version__
