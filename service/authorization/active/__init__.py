"""Which policy version decides in this process. Owns the process's policy snapshot; versions are durable in Postgres.

Import from outside: `policy_versions`; the composition root imports the rest.
"""
