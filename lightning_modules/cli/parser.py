"""The command-line parser of train.py: one clear line for what a person mistyped, exit status 2."""

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
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from lightning_modules.cli.yaml_text import load_checked
from lightning_modules.errors import UserError, did_you_mean, one_line

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def config_first(arguments: list[str]) -> list[str]:
    """Return the command line with its config files found and moved to the front.

    jsonargparse reads from left to right and lets a later file overwrite an earlier option silently; in front, a file
    holds only what no option says. A bare name is looked up as a path, then in configs/.

    Raises:
        UserError: if a config is missing; the line lists those there are.
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
            try:
                content = load_checked(path.read_text(encoding="utf-8-sig"))
            except OSError as error:
                raise UserError(f"--config: cannot read {path}: {error.strerror}") from error
            except UserError as error:
                raise UserError(f"--config: {path}: {error}") from error
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise UserError(f"--config: {path} is not valid YAML: {' '.join(str(error).split())}") from error
            if not isinstance(content, dict):
                raise UserError(f"--config: {path} holds no settings; a config is `key: value` lines")
            return path
    known = sorted(path.name for path in CONFIGS.glob("*.yaml"))
    wrong = f"there is no {name!r}{did_you_mean(name, known)}" if name else "names no file"
    raise UserError(f"--config: {wrong}; configs/ has {', '.join(known)}")


def gives_setting(arguments: list[str], key: str) -> bool:
    """Tell whether a command line, its configs found and in front, gives a setting, in an option or in a config.

    Args:
        arguments: the words, as `config_first` returns them.
        key: dotted, without init_args, such as "data.seed".
    """
    top, _, below = key.partition(".")
    for word, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, value = word.removeprefix("--").partition("=")
        value = value if equals else following
        if option.replace(".init_args", "") == key:
            return True
        if option == "config" and key in dict(_flat(yaml.safe_load(Path(value).read_text()))):
            return True
        if option == top and value.lstrip().startswith("{") and below in dict(_flat(yaml.safe_load(value))):
            return True
    return False


class OneLineParser(LightningArgumentParser):
    """LightningArgumentParser whose `error` is one line: the key, what is wrong, the nearest known key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.arguments: list[str] = []

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Remember the words of the command line, for `error`, and parse them."""
        self.arguments = list(sys.argv[1:] if args is None else args)
        return super().parse_args(args, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with status 2; a parser inside another one hands its message on to the outer."""
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"{self.prog}: error: {one_line(self._one_line(message))}", file=sys.stderr)
        self.exit(2)

    def _one_line(self, message: str) -> str:
        if re.search(r"arguments are required: (model|data)", message):
            return "no model and no data are given; name a config, such as --config palindrome_lstm.yaml"
        bare = re.search(r"argument (?:-\w/)?(--[\w.]+): expected one argument", message)
        if bare:  # of data.download the message names data alone
            follows = zip(self.arguments, [*self.arguments[1:], "--"], strict=True)
            options = (word for word, following in follows if word.startswith(bare[1]) and following.startswith("--"))
            return f"{next(options, bare[1])} needs a value"
        unknown = re.search(r"(?:accept option|Option) '([\w.]+)'|unrecognized arguments: -*([\w.-]+)", message)
        if unknown:
            name = unknown[1] or unknown[2]
            return self._unknown_key(name)
        *_, (key, problem) = [
            ("", message),
            *re.findall(r'Parser key "([\w.]+)":((?:(?!Parser key).)*)', message, re.DOTALL),
        ]
        where = f"{self._full_key(key)}: " if key else ""
        path = re.search(
            r"class_path '([\w.]+)'|import path string: (\S+)|callable class: .*class_path='([\w.]+)'"
            r"|Expected a path but (\S+) either",
            problem,
        )
        if path:
            return where + _unknown_class(next(filter(None, path.groups())))
        return where + plain(problem)

    def _full_key(self, name: str) -> str:
        """Return the dotted key, as a person would write it, that ends in `name`."""
        return next(self._full_keys(name), name)

    def _full_keys(self, name: str) -> Iterator[str]:
        """Yield the keys that end in `name`, of the command line and then of the configs."""
        options = [word.removeprefix("--").partition("=")[0] for word in self.arguments if word.startswith("--")]
        for key in (*options, *(key for key, _ in self._config_items())):
            if key == name or key.endswith(f".{name}"):
                yield key

    def _unknown_key(self, name: str) -> str:
        """Tell the key that ends in `name`, and those that end alike and stand highest, or else the nearest name."""
        known, last = self._known_keys(), name.rpartition(".")[2]
        key = next((key for key in self._full_keys(name) if key not in known), name)
        alike = sorted(other for other in known if other.rpartition(".")[2] == last)
        highest = [other for other in alike if other.count(".") == min(each.count(".") for each in alike)]
        if highest:
            return f"unknown key {key}; did you mean {' or '.join(highest)}?"
        return f"unknown key {key}{did_you_mean(last, {other.rpartition('.')[2] for other in known})}"

    def _known_keys(self) -> set[str]:
        """Return every key: the parser's own, and the arguments of each class that a config or an option names."""
        keys = {action.dest for action in self._actions}
        classes = list(self._config_items())
        for word, following in zip(self.arguments, [*self.arguments[1:], ""], strict=True):
            option, equals, value = word.removeprefix("--").partition("=")
            classes.append((option, value if equals else following))
        for prefix, path in classes:
            keys |= {f"{prefix}.{name}" for name in _arguments_of(path)}
        return keys

    def _config_items(self) -> Iterator[tuple[str, Any]]:
        for option, value in zip(self.arguments, self.arguments[1:], strict=False):
            if option == "--config":
                yield from _flat(yaml.safe_load(Path(value).read_text()))


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a config, without the words init_args and class_path."""
    if not isinstance(tree, dict):
        yield prefix, tree
        return
    for key, value in tree.items():
        below = prefix if key in ("init_args", "class_path") else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield below, None
        yield from _flat(value, below)


def _arguments_of(path: Any) -> set[str]:
    """Return the constructor's argument names of the class at an import path; nothing if there is none."""
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if module.split(".")[0] not in ("kernels", "datamodules", "lightning_modules"):
        return set()
    try:
        return set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return set()


def _unknown_class(path: str) -> str:
    """Say what is wrong with an import path."""
    module, _, name = path.rpartition(".")
    if not module:
        return f"{path!r} is no class; give its import path, such as {_nearest_class(name)}"
    try:
        known = {key: value for key, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)}
    except ImportError as error:
        return f"cannot import {module}: {error}"
    if name in known:
        required = ""
        with contextlib.suppress(ValueError):  # builtins have no signature
            parameters = inspect.signature(known[name]).parameters.values()
            required = ", ".join(
                each.name for each in parameters if each.default is each.empty and each.kind < each.VAR_POSITIONAL
            )
        return f"{path} does not fit here" + (f", or lacks its arguments ({required})" if required else "")
    return f"{module} has no {name!r}{did_you_mean(name, known)}"


def _nearest_class(name: str) -> str:
    """Return the import path of the class whose name is nearest, of kernels and the modules that configs/ names."""
    texts = [config.read_text() for config in sorted(CONFIGS.glob("*.yaml"))]
    modules = ["kernels", *re.findall(r"class_path: ([\w.]+)\.\w+", "\n".join(texts))]
    paths: dict[str, str] = {}
    for module in dict.fromkeys(modules):
        for key, value in vars(importlib.import_module(module)).items():
            if inspect.isclass(value) and value.__module__.startswith(module):
                paths.setdefault(key.lower(), f"{module}.{key}")
    near = difflib.get_close_matches(name.lower(), paths, n=1)
    return paths[near[0]] if near else "kernels.LSTM or datamodules.toy_tasks.BaumSweet"


def plain(problem: str) -> str:
    """Return a parser's complaint in words, in one line: types by their names, the value that was given."""
    union = re.search(
        r"Subtypes: \[(.*?)\]\n\s*Errors:\n(.*?)\n\s*Given value type: .*?\n\s*Given value: (.*)", problem, re.DOTALL
    )
    if union:
        reasons = [line for line in union[2].split("\n") if "NoneType" not in line]
        given = union[3].split("\n")[0].strip()
        if given.lstrip("[").startswith("Namespace(class_path") and (
            inner := re.findall(r"class_path '([\w.]+)':\n\s*(?:- )?(.*)", union[2])
        ):  # a class of the right kind that cannot be made; the innermost reason counts
            return f"{inner[-1][0]}: {inner[-1][1]}"
        if len(reasons) > 1:
            if given.startswith("{") and "dict" not in union[1]:
                return "class_path is missing, which names a class by its import path"
            types = union[1].replace("typing.Literal", "").replace("<class 'NoneType'>", "null")
            return f"{given!r} is none of {_type_names(types)}"
        if reasons:
            problem = reasons[0].strip().removeprefix("- ")
            if problem.startswith("Expected") and "Got value" not in problem:
                problem += f". Got value: {given}"
            problem = problem.replace(": does not conform", f": {given} does not conform")
    problem = re.split(r"\n\s*(?:- Expected a <class 'NoneType'>|Given value type:)", problem)[0]
    problem = re.sub(
        r"Expected an? typing\.Literal\[(.*?)\]\. Got value: (\S+?)\.?(?:\s.*)?$",
        r"'\2' is none of \1",
        problem,
        flags=re.S,
    )
    problem = re.sub(r"Not of type (\w+): (\S+) does not conform to restriction v(.*)", r"\2 is not \3 (\1)", problem)
    problem = re.sub(r"Not of type (\w+): .*: '(.*)'", r"'\2' is not of type \1", problem)
    problem = re.sub(r"Expected an? (\S+)\. Got value: (\S+)", r"'\2' is not of type \1", _type_names(problem))
    return " ".join(problem.split())


def _type_names(text: str) -> str:
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
