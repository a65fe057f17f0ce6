"""How a step consumes a dataset."""

from batchmill.workspace.consumption import DatasetConsumptionConfig as DatasetConsumptionConfig
