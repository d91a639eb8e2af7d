"""The one part of the package that a stream may name.

Each function of its modules is total: it checks all that it is given before it
uses any of it, calls no method of what it has not checked, and raises
`UnsafeError` for what no reducer of ours writes.
"""
