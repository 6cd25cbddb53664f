"""Many photos on all cores: each worker answers whole photos, from the file to the answer.

A photo is small work. Workers that each run a session of one thread keep all cores busy without waiting for one
another, and reading, preparing and inference overlap by themselves: on two x86 cores MobileNetV2 in int8 answers
1.7 times as many images a second as one session of two threads does (`benchmarks/throughput.py`); batches add
nothing there.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from .bundle import Bundle
from .cores import usable_cores
from .recognizer import Recognizer

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 16


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Call a function on items in several threads and give the results in the order of the items.

    A few results a worker are made ahead of the one that is waited for, so that a slow reader of them does not
    stop the workers and does not fill the memory either. Closing the generator stops the work.

    Args:
        function: What is called, in any of the threads.
        items: Read by the calling thread, as results are taken.
        workers: Threads.

    Raises:
        Exception: Whatever the function raised, at the place of its item.
    """
    left = iter(items)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sightline-bulk")
    try:
        waiting.extend(pool.submit(function, item) for item in islice(left, workers * _AHEAD))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(left, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def open_for_many(
    bundle: Bundle, provider: str = "auto", variant: str = "auto", threads: int | None = None
) -> tuple[Recognizer, int]:
    """Open a model of one thread, and say how many workers may call it at once.

    Args:
        bundle: A loaded bundle.
        provider: See `Recognizer`.
        variant: See `Recognizer`.
        threads: Workers; None takes all the cores this process may use.

    Raises:
        BundleError: The variant does not exist or cannot be opened.
        ProviderError: The provider is not to be had.
    """
    return Recognizer(bundle, provider, variant, threads=1), threads or usable_cores(most=None)
