"""A module on the path that nobody imports, unless a stream makes them."""
