"""The command-line parser of train.py: it finds configs, and prints one line for what a person mistyped."""

import contextlib
import difflib
import importlib
import inspect
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

import kernels
from lightning_modules.cli.constructors import parameters
from lightning_modules.cli.yaml_text import load_checked
from lightning_modules.dotted_keys import flat
from lightning_modules.errors import UserError, did_you_mean, one_line

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OURS = ("kernels.", "datamodules.", "lightning_modules.")  # beginnings of the import paths of our classes

# Lines of jsonargparse's messages that give no reason: headings, and alternatives that the type also allows.
NO_REASON = re.compile(
    r"(- )?(Does not validate|Subtypes:|Errors:|Given value type:|Problem with given class_path|Expected a path but"
    r"|Expected a <class 'NoneType'>|Given value: ({|\w+\())"
)


def config_first(arguments: list[str]) -> list[str]:
    """Return the command line with its config files found and moved to the front.

    jsonargparse reads from left to right, so a config behind an option would silently overwrite it. A name is looked up
    as a path, then in configs/.

    Raises:
        UserError: if a config is missing; the line lists the configs there are.
    """
    files, others = [], []
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option in ("--config", "-c"):
            files.append(find_config(value if equals else next(rest, "")))
        else:
            others.append(argument)
    return [word for file in files for word in ("--config", str(file))] + others


def find_config(name: str) -> Path:
    """Return the config file of that path, or of that name in configs/.

    Raises:
        UserError: if there is none, or it is not YAML.
    """
    for path in (Path(name), CONFIGS / name):
        if name and os.path.isfile(path):  # False, too, for a name that no file can have
            if not isinstance(_load(path), dict):
                raise UserError(f"--config: {path} holds no settings; a config is `key: value` lines")
            return path
    known = sorted(path.name for path in CONFIGS.glob("*.yaml"))
    # Without the ending, which all names share, so that a name is not near only by it.
    near = did_you_mean(name.removesuffix(".yaml"), [each.removesuffix(".yaml") for each in known])
    wrong = f"there is no {name!r}{near}".replace("'?", ".yaml'?") if name else "names no file"
    raise UserError(f"--config: {wrong}{' ' if wrong.endswith('?') else '; '}configs/ has {', '.join(known)}")


def _load(path: Path) -> Any:
    """Return the content of a config file."""
    try:
        content = load_checked(path.read_text(encoding="utf-8-sig"))
        path.read_text()  # as jsonargparse will read it
    except OSError as error:
        raise UserError(f"--config: cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"--config: {path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config: {path} is not valid YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        utf8 = "" if error.encoding == "utf-8" else "; set PYTHONUTF8=1, since it is read in this locale's encoding"
        raise UserError(f"--config: {path} is not valid YAML: {error}{utf8}") from error
    return content


def given_settings(arguments: list[str]) -> dict[str, Any]:
    """Return the settings that a command line gives, by dotted keys without init_args; a class by its import path.

    Args:
        arguments: the words, as `config_first` returns them.
    """
    given: dict[str, Any] = {}
    for word, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, value = word.removeprefix("--").partition("=")
        value = value if equals else following
        if option == "config":
            given |= flat(_load(Path(value)))
        elif word.startswith("--"):
            tree = value
            if value.lstrip().startswith("{"):
                with contextlib.suppress(yaml.YAMLError):  # jsonargparse will refuse it
                    tree = load_checked(value)
            given |= flat(tree, option)
    return {key.replace(".init_args", "").removesuffix(".class_path"): value for key, value in given.items()}


class OneLineParser(LightningArgumentParser):
    """LightningArgumentParser whose `error` prints one line: the key, what is wrong, the nearest known key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.arguments: list[str] = []

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Parse the words of the command line, and remember them for `error`."""
        self.arguments = list(sys.argv[1:] if args is None else args)
        return super().parse_args(args, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with status 2; a parser inside another one passes its message to the outer."""
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"{self.prog}: error: {one_line(self._line(message))}", file=sys.stderr)
        self.exit(2)

    def _line(self, message: str) -> str:
        if "arguments are required: " in message:
            return f"{message}; name a config, such as --config palindrome_lstm.yaml"
        if bare := re.search(r"argument (?:-\w/)?(--[\w.]+): expected one argument", message):
            follows = itertools.pairwise([*self.arguments, "--"])  # the message names only --data of --data.length
            options = (word for word, following in follows if word.startswith(bare[1]) and following.startswith("--"))
            return f"{next(options, bare[1])} needs a value"
        if unknown := re.search(r"[Oo]ption '([\w.]+)'|unrecognized arguments: -*([\w.-]+)", message):
            within = re.search(r"Group '([\w.]+)'", message)
            return self._unknown_key(".".join(filter(None, (within and within[1], *_keys(message), *unknown.groups()))))
        return plain(message)

    def _unknown_key(self, key: str) -> str:
        """Return the line for an unknown key. It suggests known keys with the same last name, else the nearest name."""
        known = {action.dest for action in self._actions}
        for prefix, value in given_settings(self.arguments).items():
            if isinstance(value, str) and value.startswith(OURS):
                known.update(_keys_of_class(prefix, locate(value)))
        last = key.rpartition(".")[2]
        alike = sorted(other for other in known if other.rpartition(".")[2] == last)
        highest = [other for other in alike if other.count(".") == min(each.count(".") for each in alike)]
        if highest:
            return f"unknown key {key}; did you mean {' or '.join(highest)}?"
        return f"unknown key {key}{did_you_mean(last, {other.rpartition('.')[2] for other in known})}"


def plain(message: str) -> str:
    """Return a message of jsonargparse as one line: the full key, and the reasons of the innermost error."""
    *_, problem = re.split(r'Parser key "[\w.]+":', message)
    lines = [line for line in problem.splitlines() if line.strip()]
    own = itertools.takewhile(lambda line: _indent(line) >= _indent(lines[0]), lines)
    reasons = [re.sub(r"^- ", "", line.strip()) for line in own if not NO_REASON.match(line.strip())]
    given = [reason for reason in reasons if reason.startswith("Given value: ")]
    shown = [reason for reason in dict.fromkeys(reasons) if reason not in given]
    shown += [each for each in given if each.removeprefix("Given value: ") not in "".join(shown)]
    text = "; ".join(shown).replace(":;", ":").replace("typing.", "") or " ".join(message.split())
    text = re.sub(r"Type \S+\[.*?\] expects a function or a callable class: |\.? Got value: Namespace\(.*", "", text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    key = ".".join(_keys(message))
    return f"{key}: {text}{_nearest_class(text)}" if key else text


def _keys(message: str) -> list[str]:
    """Return the names that lead to the innermost key of a message, which indents what lies within a key."""
    keys: list[tuple[int, str]] = []
    for line in message.splitlines():
        if found := re.search(r'Parser key "([\w.]+)":', line):
            keys = [*((indent, name) for indent, name in keys if indent < _indent(line)), (_indent(line), found[1])]
    return [name for _, name in keys]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _keys_of_class(prefix: str, owner: Any) -> Iterator[str]:
    """Yield the keys of a class's constructor arguments, and of a class that is the default of one of them."""
    if isinstance(owner, type) and owner.__module__.startswith(OURS):
        for name, parameter in parameters(owner).items():
            yield f"{prefix}.{name}"
            yield from _keys_of_class(f"{prefix}.{name}", parameter.default)


def _nearest_class(text: str) -> str:
    """Return a suggestion where a message says that a module lacks a class, or that a name is no import path."""
    if missing := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", text):
        known = [name for name, value in vars(importlib.import_module(missing[1])).items() if inspect.isclass(value)]
        return did_you_mean(missing[2], known)
    if word := re.search(r"Expected a dot import path string: (\w+)", text):
        configs = "\n".join(path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.yaml"))
        paths = [
            *re.findall(r": ([\w.]+\.\w+)$", configs, re.MULTILINE),
            *(f"kernels.{name}" for name in kernels.__all__),
        ]
        classes = {path.rpartition(".")[2].lower(): path for path in paths}
        near = difflib.get_close_matches(word[1].lower(), classes, n=1)
        return f", such as {classes[near[0]]}" if near else ""
    return ""
