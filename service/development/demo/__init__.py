"""The story that `timewarden demo` plays: real people sign in, real requests are sent, every answer is checked.

`story` tells it from beginning to end; each other module holds the part that its name says.
"""
