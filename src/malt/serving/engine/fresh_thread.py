"""Does something in a thread that ends with it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")


def run_in_fresh_thread(work: Callable[[], Value]) -> Value:
    """Do something in a thread that ends with it, as loading a model that another thread will compute with.

    Each thread that computes keeps a team of threads, and where all teams together outnumber the processors, those of GNU's
    OpenMP no longer wait awake: a segment then takes nearly twice as long. A team goes with its thread.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()
