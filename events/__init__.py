"""Events that the service publishes: `envelope`, `relay` and `consumer`. Imports nothing of `service`.

Redis holds only a copy. The sealed log in Postgres is the truth, and a lost Redis is refilled from it.
"""
