"""What all routes share: authentication, problems, bodies, parameters, paging, preconditions, idempotency, limits.

It owns only bounded caches and counters. Every folder of routes and the composition root may import it.
"""
