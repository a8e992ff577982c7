"""The policy language: questions, vocabulary, rules, model, cases and laws. Pure: no I/O, no state.

Import from outside: `question` (what is asked), `policy_file` (rules as read), `matching`, `known_words`, `laws`.
"""
