"""Runs a program of a test that serves with `run_worker`, as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2

from service.listeners import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def running_program(program: str, *arguments: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the program until the block ends. Its first argument is a listening socket; gives a client of it."""
    with listen("127.0.0.1", 0) as listener:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(listener.fileno()), *arguments), pass_fds=(listener.fileno(),)
        )
        port = listener.getsockname()[1]
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
                yield http
        finally:
            process.terminate()
            await process.wait()
