"""Programs that run alone: each is one file that can be copied away and imports nothing of service."""
