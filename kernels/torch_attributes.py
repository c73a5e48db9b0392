"""What other code reads of torch.nn's recurrent layers: pruning, weight normalisation, exporters, old pickles."""

from typing import Any, ClassVar

from torch import Tensor, nn


class TorchAttributes(nn.Module):
    """Attributes and methods of torch.nn's recurrent layers that need no computation.

    There is no flat buffer of weights here: a layer reads its parameters by name in every forward pass. So weights that
    are replaced, pruned or parametrised are used as they are, and `flatten_parameters` has nothing to do.
    """

    torch_layer: ClassVar[type[nn.RNNBase] | None] = None  # torch.nn's layer with the same equations
    num_states: ClassVar[int] = 1  # tensors in the state of a cell: 1 for h, 2 for h and c
    proj_size: int  # width of the projected state, 0 for no projection
    _names: list[str]  # parameters of one layer and direction
    _suffixes: list[str]  # one for each layer and direction

    @property
    def mode(self) -> str:
        """torch.nn's name of the equations, such as "LSTM" or "RNN_TANH"."""
        if self.torch_layer is None:
            raise AttributeError(f"{type(self).__name__} has no mode: torch.nn lacks these equations")
        function = getattr(self, "nonlinearity", None)
        return self.torch_layer.__name__ + (f"_{function.upper()}" if function else "")

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Weights and biases, a list for each layer and direction, in the order of torch.nn."""
        return [[getattr(self, name + suffix) for name in self._names] for suffix in self._suffixes]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name + suffix for suffix in self._suffixes for name in self._names]

    @property
    def _flat_weights(self) -> list[Tensor | None]:
        """The weights in one list, None for one that has been deleted; `torch.nn.utils` and others look here."""
        return [getattr(self, name, None) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Do nothing: there is no flat buffer of weights here."""

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0,
            "backend": "auto", "recompute": False, "zoneout": (0.0,) * self.num_states,
        }  # fmt: skip
        words = [f"{name}={getattr(self, name)!r}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *words])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied layer; one from before `proj_size` and `zoneout` has none."""
        super().__setstate__({"proj_size": 0, "zoneout": (0.0,) * self.num_states} | state)
