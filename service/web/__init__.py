"""The web floor: HTTP in and out. Turns requests into calls of use cases and errors into problem documents.

Its modules do not know one another's routes; what they share is here on this floor: problems, preconditions, paging,
request shapes. It owns no state but bounded caches.
"""
