"""Settings by dotted keys, as options and messages name them."""

from typing import Any


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: value} of a config; lists count as values."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        key: value
        for name, branch in tree.items()
        for key, value in flat(branch, f"{prefix}.{name}".lstrip(".")).items()
    }
