"""Authorization, may they? `enforcement` (PEP, PIP) stands on `active` (which version decides) and `engine` (PDP)."""
