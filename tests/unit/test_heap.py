"""The heap of an API process lies in huge pages, where the kernel has them."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

from service.heap import ENABLED, HUGE_PAGE_BYTES, huge_parts

MAPS = """\
00400000-00420000 r--p 00000000 fe:00 153625                             /usr/bin/python3.13
009f2000-00f83000 rw-p 005f1000 fe:00 153625                             /usr/bin/python3.13
1c21b000-1c9ff000 rw-p 00000000 00:00 0                                  [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f1000100000-7f10002ff000 rw-p 00000000 00:00 0
7f2000000000-7f2004000000 ---p 00000000 00:00 0
7f3000000000-7f3000400000 rw-s 00000000 00:01 1024                       /dev/zero (deleted)
7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_huge_pages_of_memory_without_a_file_are_moved() -> None:
    assert [(hex(start), size // HUGE_PAGE_BYTES) for start, size in huge_parts(MAPS)] == [
        ("0x1c400000", 2),
        ("0x7f0000000000", 2),
    ]


def has_huge_pages() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    known = release is not None and (int(release[1]), int(release[2])) >= (6, 1)
    return sys.platform == "linux" and known and ENABLED.exists() and "[never]" not in ENABLED.read_text()


@pytest.mark.skipif(not has_huge_pages(), reason="the kernel has no huge pages for heaps")
def test_what_a_process_holds_when_it_settles_lies_in_huge_pages() -> None:
    program = """
from pathlib import Path
from service.heap import settle_heap
def huge():
    line, = (line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("AnonHuge"))
    return int(line.split()[1])
held = [str(number) for number in range(900_000)]
before = huge()
settle_heap()
print(before, huge(), held[-1])
"""
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    before, after, last = told.split()
    assert last == "899999"
    assert int(after) - int(before) >= 8 * 1024
