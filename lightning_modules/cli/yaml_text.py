"""Safe loading of YAML: limited depth and size, no duplicate keys, no values that contain themselves."""

from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lightning_modules.errors import UserError

DEEPEST = 50  # levels; configs have about six
LARGEST = 10_000  # values, after expanding aliases


class _CheckedLoader(yaml.SafeLoader):
    """SafeLoader that refuses a text while it is composed, before aliases are expanded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []  # anchors of the values that contain the next one, None without an anchor
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        at = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
            raise UserError(f"{at}: *{event.anchor} stands inside of what it stands for, which has no end")
        if len(self._open) > DEEPEST:
            raise UserError(f"{at} is nested more than {DEEPEST} levels deep")
        self._open.append(event.anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        children = []
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise UserError(f"line {line}: the key {key.value!r} is given twice; only one of them can count")
                seen.add(key.value)
            children = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        if node is not None:
            self._sizes[node] = 1 + sum(self._sizes[child] for child in children)
            if self._sizes[node] > LARGEST:
                raise UserError(f"{at}: too large; a config has at most {LARGEST:,} values, aliases expanded")
        return node


def check_yaml(text: str) -> None:
    """Check that a YAML text can be loaded safely, without exceeding the recursion limit or the memory.

    Raises:
        UserError: if the text is nested too deeply, too large, contains itself, or gives a key twice in one mapping.
        yaml.YAMLError: if it is not YAML.
    """
    loader = _CheckedLoader(text)
    try:
        loader.get_single_node()
    finally:
        loader.dispose()


def load_checked(text: str) -> Any:
    """Check a YAML text and return its content, with numbers as jsonargparse reads them.

    Raises:
        UserError: as `check_yaml` does.
        yaml.YAMLError: if it is not YAML.
    """
    try:
        check_yaml(text)
        return _load(text)
    except UserError as error:
        raise UserError(f"{' '.join(text[:40].split())}…: {error}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(str(error)) from error


# jsonargparse uses it for everything: configs, files that a config names, and values on the command line.
_load = get_loader("yaml")
set_loader("yaml", load_checked, exceptions=(yaml.YAMLError,))
