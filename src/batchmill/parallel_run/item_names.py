"""What a plan knows of the items of its mini-batches: what they are called, and how many they are."""

from __future__ import annotations

from collections.abc import Callable

from batchmill.worker.plan_file import PlanFile


def item_name(plan: PlanFile) -> Callable[[int, int], str]:
    """What an item of a mini-batch is called where no worker can say: its path, for rows with their place (-1: unread)."""

    def name(mini_batch: int, position: int) -> str:
        part = plan.mini_batch(mini_batch)
        if plan.header["kind"] != "table":
            return plan.item(part.items[max(0, position)]).path
        where = plan.item(part.items[0]).path if part.items else f"the rows of {part.keys}"
        return where if position < 0 else f"{where}: row {position + 1} of mini-batch {mini_batch}"

    return name


def items_of(plan: PlanFile) -> Callable[[int], int | None]:
    """Items of a mini-batch where the plan knows them: files are counted, rows only when they are read."""
    known = plan.header["kind"] != "table"
    return lambda k: len(plan.mini_batch(k).items) if known else None
