"""The policy language: access requests, vocabulary, rules, model, cases and laws. Pure: no I/O, no state.

Import from outside: `access_request`, `policy_file` (texts and rules), `matching`, `known_words`, `laws`,
`request_space`.
"""
