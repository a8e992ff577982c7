"""The life of a policy version: propose, compare, simulate, activate, roll back. Durable in Postgres.

Import from outside: `administration`, `comparison`, `simulation`, `bootstrap`.
"""
