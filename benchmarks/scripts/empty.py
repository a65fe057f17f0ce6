"""Does nothing: what is measured is everything around it."""


def run(mini_batch):  # type: ignore[no-untyped-def]
    return mini_batch
