"""Where data sets are looked up."""

import os
from pathlib import Path


class DataError(ValueError):
    """Data that cannot be had or used; the message says why, and what would do."""


def data_folders() -> list[Path]:
    """Return the folders where data are looked up: RESEARCH_DATA_DIR, then data/ under the current folder."""
    chosen = os.environ.get("RESEARCH_DATA_DIR")
    return [*([Path(chosen)] if chosen else []), Path("data")]
