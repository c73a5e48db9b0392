"""What a network makes of a graph once and keeps, such as the matrix of its edges."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Memo:
    """Keeps what was last made of a tensor, until another one comes or that one is changed in place.

    A copy or a pickle of it is empty: torch neither copies nor pickles sparse matrices in compressed rows.
    """

    def __init__(self) -> None:
        self._made: tuple[Tensor, tuple[object, ...], Any] | None = None

    def __call__(self, tensor: Tensor, make: Callable[[], Any], *facts: object) -> Any:
        """Return `make()`, made anew for another tensor, for changed values, or for other facts."""
        state = (0 if tensor.is_inference() else tensor._version, *facts)
        if self._made is None or self._made[0] is not tensor or self._made[1] != state:
            self._made = (tensor, state, make())
        return self._made[2]

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Return how to make an empty one."""
        return Memo, ()
