"""What README and docs name exists: linked files and headings, paths, modules; the commands are accepted."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from lightning_modules.cli.settings import parse_settings
from studies.claim_list import chosen
from studies.claims import load
from studies.options import parse
from studies.runs import plan
from tests.kernels.all_cells import LEAKY

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("benchmarks", "configs", "datamodules", "kernels", "lightning_modules", "studies", "tests")
OF_THE_READER = {"leaky", "leaky_cell", "my_graph"}  # modules that a page tells its reader to write

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', page.read_text(encoding="utf-8")):
        target, _, anchor = "".join(link).partition("#")
        if "://" not in target:
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


@each_page
def test_paths_exist(page: Path) -> None:
    names = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")} | {"config.yaml"}
    for path in re.findall(r"(?<![\w/<>*.])[\w/<>*.]*\w\.(?:py|yaml|ipynb)\b", page.read_text(encoding="utf-8")):
        if "<" not in path and path.removesuffix(".py").partition("/")[0] not in OF_THE_READER:
            assert (ROOT / path).exists() or path in names, path


@each_page
def test_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), module
    for name in set(re.findall(r"(?<![\w/])(?:kernels|lightning_modules|datamodules)(?:\.\w+)+\b(?!/)", text)):
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            assert importlib.util.find_spec(name), name


@pytest.mark.slow
@each_page
def test_commands_are_accepted(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for script, words in set(re.findall(r"python (train|study)\.py (--[^`\n#]*)", text)):
        if not OF_THE_READER & set(re.findall(r"\w+", words)) and "--help" not in words:
            if script == "train":
                parse_settings(shlex.split(words))
            else:
                options, overrides = parse(shlex.split(words.partition(" …")[0]), None)
                if options.config:
                    plan(options.config, options.seeds[:1], options.vary, overrides)
                else:
                    assert chosen(load(), options.only)


@pytest.mark.parametrize("page", ["README.md", "docs/recurrent-layers.md"])
def test_the_fast_cell_is_the_one_that_the_tests_run_with(page: str) -> None:
    assert f"```python\n{LEAKY}```" in (ROOT / page).read_text(encoding="utf-8")
