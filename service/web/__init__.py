"""The web floor: HTTP in and out. `http` is what all routes share, `openapi` the document, the other rooms are routes.

Each room of routes calls one use-case room of the same name; rooms of routes do not know one another.
"""
