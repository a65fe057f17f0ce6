"""When the first mini-batch of a process began: a line with the seconds since 1970 in the file that STAMP names."""

import os
import time

marked = False


def mark() -> None:
    global marked
    if not marked:
        marked = True
        with open(os.environ["STAMP"], "a") as file:
            file.write(f"{time.time()}\n")
