"""The story that `timewarden demo` plays: real sign-ins, real requests, and every answer is checked.

`story` plays all of it; each other module has one part.
"""
