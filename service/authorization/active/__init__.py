"""Which policy version decides in this process. Owns the process's snapshots of versions; versions are in Postgres.

Import from outside: `versions`; the composition root imports the rest.
"""
