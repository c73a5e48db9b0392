"""Safe loading of YAML: limited depth and size, no duplicate keys, no values that contain themselves."""

from dataclasses import dataclass, field
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lightning_modules.errors import UserError

DEEPEST = 50  # levels; configs have about six
LARGEST = 10_000  # values, after expanding aliases


@dataclass
class _Open:
    """A mapping or sequence whose end has not been read yet, with its size so far and the keys of a mapping."""

    anchor: str | None
    mapping: bool
    size: int = 1
    key: bool = True  # whether a mapping's next value is a key
    keys: set[str] = field(default_factory=set)


def check_yaml(text: str) -> None:
    """Check that a YAML text can be loaded safely, without exceeding the recursion limit or the memory.

    Raises:
        UserError: if the text is nested too deeply, too large, contains itself, or gives a key twice in one mapping.
        yaml.YAMLError: if it is not YAML.
    """
    sizes: dict[str | None, int] = {}
    stack = [_Open(None, False)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        at = f"line {event.start_mark.line + 1}" if event.start_mark else ""
        if isinstance(event, yaml.CollectionStartEvent):
            _count(stack[-1], 0)
            stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(stack) > DEEPEST:
                raise UserError(f"{at} is nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            stack[-1].size += done.size
            if done.anchor is not None:
                sizes[done.anchor] = done.size
        elif isinstance(event, yaml.AliasEvent):
            if any(each.anchor == event.anchor for each in stack):
                raise UserError(f"{at}: *{event.anchor} stands inside of what it stands for, which has no end")
            _count(stack[-1], sizes.get(event.anchor, 1))
        elif isinstance(event, yaml.ScalarEvent):
            holder = stack[-1]
            if holder.mapping and holder.key and event.value in holder.keys:
                raise UserError(f"{at}: the key {event.value!r} is given twice; only one of them can count")
            if holder.mapping and holder.key:
                holder.keys.add(event.value)
            _count(holder, 1)
        if stack[-1].size > LARGEST:
            raise UserError(f"{at}: too large; a config has at most {LARGEST:,} values, aliases expanded")


def _count(holder: _Open, size: int) -> None:
    """Count a value in a mapping or sequence; in a mapping, keys and values alternate."""
    holder.size += size
    holder.key = not holder.key


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
