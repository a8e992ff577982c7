"""The life of a policy version: propose, compare, simulate, activate, roll back. Durable in Postgres.

Import from outside: `policy_administration`, `policy_comparison`, `simulation`, `policy_bootstrap`, `answers_again`.
"""
