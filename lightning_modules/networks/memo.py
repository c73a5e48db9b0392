"""What a network makes of a graph once and keeps, such as the matrix of its edges."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Memo:
    """Keeps what was last made of some tensors and facts, until others come or a tensor is changed in place.

    What is kept takes part in no gradient. A copy or a pickle of it is empty: torch neither copies nor pickles sparse
    matrices in compressed rows.
    """

    def __init__(self) -> None:
        self._of: tuple[Any, ...] | None = None
        self._versions: list[int] = []
        self._value: Any = None

    def __call__(self, make: Callable[[], Any], *of: Any) -> Any:
        """Return `make()`, which is called only where `of`, tensors and plain values, differs from the last call's."""
        versions = [part._version if isinstance(part, Tensor) and not part.is_inference() else 0 for part in of]
        if self._of is None or versions != self._versions or not all(map(_same, of, self._of)):
            # What is made in an evaluation serves a training, too; a graph of autograd would serve one backward pass.
            with torch.inference_mode(False), torch.no_grad():
                self._value = make()
            self._of, self._versions = of, versions
        return self._value

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Return how to make an empty one."""
        return Memo, ()


def _same(one: Any, other: Any) -> bool:
    return one is other if isinstance(one, Tensor) else one == other
