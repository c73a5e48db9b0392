"""A user's mistake: one line on stderr, and its exit status."""

import pytest

from lightning_modules.errors import UserError, print_error


def test_the_exit_status_is_that_of_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    errors = (UserError("there is no x"), UserError("the disk is full", status=1), "there is no y")
    assert [print_error("a.py", error) for error in errors] == [2, 1, 2]
    assert capsys.readouterr().err.splitlines() == [f"a.py: error: {error}" for error in errors]
