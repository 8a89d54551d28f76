"""Models: modules, checkpoints and chat, given paths and settings by whoever calls. Knows no data set and no profile."""


class ModelError(ValueError):
    """A model, checkpoint, chat server or answer that cannot be used; the message says what to change."""
