"""What `timewarden up` and the tests need beside the service: real local servers and a small authorization server.

Nothing here is in the production image, and only the command line and the tests import it.
"""
