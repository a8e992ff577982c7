"""Traffic and damage as long as one likes, and a verdict over the whole log: `python -m tests.soak --minutes 60`."""
