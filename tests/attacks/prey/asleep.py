"""A module of the program that is not imported, and must not be because a stream named it."""


class Asleep:
    """A class that nobody has met."""
