"""What the tests of the kernels share."""

from collections.abc import Iterator

import pytest

from kernels import processor
from kernels.triton import plan


@pytest.fixture(autouse=True)
def _plans_of_this_test() -> Iterator[None]:
    """Forget the plans that are cached, since tests change the constants that they depend on."""
    cached = plan.make_plan, plan._misfit
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture(autouse=True)
def _products_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loops multiply in the 16 bits that are asked for, also on a CPU which emulates them."""
    monkeypatch.setattr(processor, "computes", lambda dtype, device: True)
