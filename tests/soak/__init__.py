"""Traffic while processes are killed, and a verdict over the whole log: `python -m tests.soak --minutes 60`."""
