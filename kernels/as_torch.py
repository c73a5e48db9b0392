"""Our layers as torch.nn's, for tools that know a recurrent layer by its type, such as dynamic quantization."""

import copy

from torch import nn
from torch.nn.utils import parametrize

from kernels.layer import RecurrentLayer


def as_torch(module: nn.Module) -> nn.Module:
    """Return a copy of a module in which every layer that torch.nn has, too, is torch.nn's, with the same weights.

    The copy lacks what torch.nn's layers lack: `lengths`, `output`, `forward_ids`. It also lacks the hooks of these
    layers. Other layers stay as they are, subclasses of ours and layers with zoneout included.

    Raises:
        ValueError: if a layer's weights are computed from others (pruning, weight normalisation, parametrisations),
            which must be made permanent first.
    """
    for layer in module.modules():
        kind = parametrize.type_before_parametrizations(layer)  # a parametrised layer's own type is a subclass
        computed = isinstance(layer, RecurrentLayer) and set(layer._parameters) != set(layer._flat_weights_names)
        if _torch_layer(kind) and computed:
            raise ValueError(f"{kind.__name__}: weights that are computed from others must be made permanent first")
    module = copy.deepcopy(module)
    twins: dict[nn.Module, nn.Module] = {
        layer: _twin(layer)
        for layer in module.modules()
        if isinstance(layer, RecurrentLayer) and _torch_layer(type(layer)) and not any(layer.zoneout)
    }
    for parent in list(module.modules()):
        for name, child in parent._modules.items():  # a layer that is used twice has two names
            if child in twins:
                setattr(parent, name, twins[child])
    return twins.get(module, module)


def _torch_layer(kind: type) -> type[nn.RNNBase] | None:
    """Return the layer of torch.nn that a class itself names, rather than a class it derives from."""
    return vars(kind).get("torch_layer")


def _twin(layer: nn.Module) -> nn.Module:
    """Return torch.nn's layer with a layer's own parameters."""
    arguments = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    options = {name: getattr(layer, name) for name in (*arguments, "nonlinearity") if hasattr(layer, name)}
    if layer.proj_size:
        options["proj_size"] = layer.proj_size
    make = _torch_layer(type(layer))
    assert make is not None
    twin = make(**options, device="meta")
    for name, parameter in layer.named_parameters():
        setattr(twin, name, parameter)
    return twin.train(layer.training)
