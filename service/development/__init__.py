"""Tools for development and tests: real local servers, an authorization server, the demo.

Not part of the production image. Only the command line and the tests import it.
"""
