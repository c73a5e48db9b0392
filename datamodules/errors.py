"""The error that data modules raise for a mistake of the user. train.py prints it as one line."""


class DataError(ValueError):
    """Data that are missing or cannot be used. The message gives the reason and what to do."""
