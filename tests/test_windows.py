"""Nothing needs a module that Windows lacks: every file compiles and every module imports without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ["kernels", "datamodules", "lightning_modules", "studies", "benchmarks"]
SCRIPTS = ["train", "study", "generate"]

IMPORT_ALL = """
import importlib, pkgutil, sys
import psutil  # of torch_geometric; its file for Linux needs resource, its file for Windows does not
for name in ("fcntl", "resource", "pwd"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        importlib.import_module(module.name)
"""


def test_every_file_compiles(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "compileall", "-q", *PACKAGES, *(f"{name}.py" for name in SCRIPTS)]
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
def test_every_module_imports_without_fcntl_resource_and_pwd() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, *PACKAGES, *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
