"""Routes of policy administration: versions, diff, replays, simulation."""
