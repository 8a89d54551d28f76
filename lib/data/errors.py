"""The one error of this room: bad input, told in one sentence that names file, row or column, and the remedy."""


class DataError(ValueError):
    """A file that cannot be used as it is."""
