"""Run PyTorch's tests of recurrent layers from a checkout: python run_torch_tests.py CHECKOUT torch|own.

With "own", the layers of `kernels` stand in the place of torch.nn's before the tests are imported. The last line
is JSON: the outcome of each test, and the message of one that failed.
"""

import importlib
import inspect
import json
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

MODULES = ["test_nn", "test_load_state_dict", "test_pruning"]  # those whose tests make recurrent layers
RECURRENT = re.compile(r"(?<![a-z])(rnn|gru|lstm)(?!_?cell)", re.IGNORECASE)


class Outcomes(unittest.TestResult):
    """Keeps the outcome of every test by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, tuple[str, str]] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.outcomes.setdefault(test.id(), ("passed", ""))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.outcomes[test.id()] = ("skipped", reason)

    def addFailure(self, test: unittest.TestCase, err: tuple) -> None:
        self.outcomes[test.id()] = ("failed", f"{err[0].__name__}: {err[1]}")

    def addError(self, test: unittest.TestCase, err: tuple) -> None:
        self.addFailure(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: tuple | None) -> None:
        if err is not None:
            self.addFailure(test, err)


def recurrent_tests(module: object) -> Iterator[unittest.TestCase]:
    """Yield a module's tests whose name or source names a recurrent layer."""
    vars(module).pop("load_tests", None)  # it reads options from the command line
    suites = [unittest.defaultTestLoader.loadTestsFromModule(module)]  # type: ignore[arg-type]
    while suites:
        for test in suites.pop():
            if isinstance(test, unittest.TestSuite):
                suites.append(test)
            elif RECURRENT.search(test.id()) or RECURRENT.search(_source(test)):
                yield test


def _source(test: unittest.TestCase) -> str:
    try:
        return inspect.getsource(inspect.unwrap(getattr(test, test._testMethodName)))
    except (OSError, TypeError):  # made in a loop, of no function with a source
        return ""


def main() -> None:
    """Run the tests and print their outcomes."""
    checkout, layers = Path(sys.argv[1]), sys.argv[2]
    del sys.argv[1:]  # torch.testing reads options from it
    sys.path[:0] = [str(Path(__file__).parent.parent.parent), str(checkout / "test"), str(checkout / "test" / "nn")]
    import torch

    if layers == "own":
        import kernels

        torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM = kernels.RNN, kernels.GRU, kernels.LSTM  # type: ignore
    result = Outcomes()
    for name in MODULES:
        for test in recurrent_tests(importlib.import_module(name)):
            test.run(result)
    print("\n" + json.dumps(result.outcomes))


if __name__ == "__main__":
    main()
