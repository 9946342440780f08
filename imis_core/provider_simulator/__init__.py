"""A payment provider that is not one: a process with books of its own, to try payments against. It pays nobody.

It knows nothing of the rest of the system but what goes over the wire, and keeps its books in a folder of its own.
"""
