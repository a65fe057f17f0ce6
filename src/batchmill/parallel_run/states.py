"""Where a mini-batch stands, in one byte."""

FRESH, LEASED, DONE, FAILED, SPLIT, WAITING = range(6)
"""Nobody has had it yet; a node holds it; it succeeded; it failed for good; it is being bisected; it waits for another try."""
