"""Our layers as torch.nn's, for tools that know a recurrent layer by its type, such as dynamic quantization."""

import copy
from typing import TypeGuard

from torch import nn
from torch.nn.utils import parametrize

from kernels.cells.gru.layer import GRU
from kernels.cells.lstm.layer import LSTM
from kernels.cells.rnn.layer import RNN
from kernels.layer import RecurrentLayer

TWINS: dict[type[RecurrentLayer], type[nn.RNNBase]] = {RNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}


def as_torch(module: nn.Module) -> nn.Module:
    """Return a copy of a module in which every RNN, GRU and LSTM is torch.nn's, with the same weights.

    The copy lacks what torch.nn's layers lack: `lengths`, `output`, `forward_ids`. It also lacks the hooks of these
    layers. Other layers stay as they are, subclasses of ours included.

    Raises:
        ValueError: if a layer's weights are computed from others (pruning, weight normalisation, parametrisations),
            which must be made permanent first.
    """
    for layer in module.modules():
        kind = parametrize.type_before_parametrizations(layer)  # a parametrised layer's own type is a subclass
        computed = isinstance(layer, RecurrentLayer) and set(layer._parameters) != set(layer._flat_weights_names)
        if kind in TWINS and computed:
            raise ValueError(f"{kind.__name__}: weights that are computed from others must be made permanent first")
    module = copy.deepcopy(module)
    twins: dict[nn.Module, nn.Module] = {layer: _twin(layer) for layer in module.modules() if _has_twin(layer)}
    for parent in list(module.modules()):
        for name, child in parent._modules.items():  # a layer that is used twice has two names
            if child in twins:
                setattr(parent, name, twins[child])
    return twins.get(module, module)


def _has_twin(module: nn.Module) -> TypeGuard[RecurrentLayer]:
    return type(module) in TWINS


def _twin(layer: RecurrentLayer) -> nn.RNNBase:
    """Return torch.nn's layer with a layer's own parameters."""
    arguments = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    options = {name: getattr(layer, name) for name in arguments}
    if isinstance(layer, RNN):
        options["nonlinearity"] = layer.nonlinearity
    twin = TWINS[type(layer)](**options, device="meta")
    for name, parameter in layer.named_parameters():
        setattr(twin, name, parameter)
    return twin.train(layer.training)
