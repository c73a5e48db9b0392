"""Settings by dotted keys, as on the command line."""

from typing import Any


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return a config as {dotted key: value}. Lists and empty dicts are values."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        key: value
        for name, branch in tree.items()
        for key, value in flat(branch, f"{prefix}.{name}".lstrip(".")).items()
    }
