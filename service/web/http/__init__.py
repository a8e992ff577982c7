"""What all routes share: authentication, problems, bodies, parameters, paging, preconditions, idempotency, limits.

It owns no state but bounded caches and counters. Import from outside: by any room of routes and the composition root.
"""
