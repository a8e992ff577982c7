"""Events: what leaves the service. Knows nothing of `service`; see `envelope`, `relay` and `consumer`.

Redis holds only a copy: the sealed log in Postgres is the truth, and a lost Redis is refilled from it.
"""
