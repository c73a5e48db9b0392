"""The folders that are searched for data sets."""

import os
from pathlib import Path


def data_folders() -> list[Path]:
    """Return the folders that are searched for data: RESEARCH_DATA_DIR, then data/ in the current folder."""
    chosen = os.environ.get("RESEARCH_DATA_DIR")
    return [*([Path(chosen)] if chosen else []), Path("data")]
