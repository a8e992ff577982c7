"""The enforcement point (PEP) with its fact lookups (PIP): every read, list and change of the service goes through it.

Read `gate` first, then `changes`. It owns no durable state but stored responses and revocations, which are in Postgres.
Import from outside: `gate`, `changes`, `visibility`, `relationships`, `fact_lookup`, `fact_statements`,
`decision_record`.
"""
