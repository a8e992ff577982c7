"""Settles the heap of an API process once its parts are made: they live as long as the process.

They are left out of garbage collections and, on Linux, lie in huge pages (docs/decisions/0071). Owns nothing.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# New objects until the youngest are collected, which stops every request for 2 ms at most. As shipped 700: the requests
# in progress still need many of these.
MAX_NEW_OBJECTS: Final = 20_000
HUGE_PAGE_BYTES: Final = 2**21
# Advice of madvise(2): new pages may be huge; those that are there become huge now (since Linux 6.1).
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
ENABLED: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# A private mapping of memory without a file, in /proc/self/maps (proc(5)).
_ANONYMOUS: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(?:\[(?:heap|anon:.*)\])?$", re.MULTILINE
)


def settle_heap() -> None:
    """Collect garbage a last time, and let later collections and lookups of addresses pass what is left."""
    # A full collection stops every request, for 100 ms with the objects made so far.
    gc.collect()
    gc.freeze()
    gc.set_threshold(MAX_NEW_OBJECTS)
    if sys.platform == "linux":
        # Without /proc or /sys, pages stay as they are.
        with suppress(OSError):
            if "[never]" not in ENABLED.read_text():
                # The path of a file may be any bytes.
                _use_huge_pages(Path("/proc/self/maps").read_text(errors="replace"))


def _use_huge_pages(maps: str) -> None:
    """Move large mappings to huge pages, as far as the kernel has any free."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, size in huge_parts(maps):
        for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
            # It fails where the kernel is older or has no huge page: the pages stay small.
            madvise(start, size, advice)


def huge_parts(maps: str) -> Iterator[tuple[int, int]]:
    """The address and the size of the part of each mapping that consists of whole huge pages."""
    for found in _ANONYMOUS.finditer(maps):
        start, end = (int(address, 16) for address in found.groups())
        first, last = -(-start // HUGE_PAGE_BYTES), end // HUGE_PAGE_BYTES
        if last > first:
            yield first * HUGE_PAGE_BYTES, (last - first) * HUGE_PAGE_BYTES
