"""Room for numpy's OpenBLAS where a process may map so much and no more: ``ulimit -v``, as some batch systems set it.

OpenBLAS asks for its buffer at the first product of matrices, 32 MB a thread, and for those of its other threads when
it is loaded. Where it is given none it asks again without end, or dies by SIGSEGV; Python learns of neither.
"""

from __future__ import annotations

import mmap
import os
import resource
from functools import cache

ROOM = 128 * 2**20  # numpy 2.4 maps 83 MB with one thread, and the first product 34


def limited() -> bool:
    """Whether this process may map so much and no more."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def check() -> None:
    """Where address space is limited, have OpenBLAS take one buffer now.

    Raises:
        MemoryError: there is no room for it.
    """
    if limited():
        take()


@cache
def take() -> None:
    """Load numpy, its OpenBLAS with one thread unless the environment names a number, and have it take its buffer.

    Raises:
        MemoryError: there is no room for it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        mmap.mmap(-1, ROOM).close()
    except OSError:
        raise MemoryError(f"less than {ROOM // 2**20} MB of address space, see ulimit -v") from None
    import numpy as np

    np.zeros((512, 512)) @ np.zeros((512, 512))
