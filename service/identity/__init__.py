"""Identity: authenticates the caller. Verifies an access token and returns its Principal. Knows neither policy nor log.

Owns the issuers' keys and caches of tokens, in memory. Others import `tokens`, `principal`, and what configures them.
"""
