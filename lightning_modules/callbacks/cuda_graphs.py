"""Training passes as CUDA graphs: a pass of many short kernels then costs one launch."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from kernels import RecurrentLayer

AT_MOST = 4  # graphs of one network; each keeps the memory of its pass


class CudaGraphs(Callback):
    """Runs the forward and backward pass of a recurrent network in training as CUDA graphs, on one CUDA device.

    Launching the kernels of a small recurrent network takes the CPU longer than the GPU needs to run them. A graph
    launches all of them at once. It does the same arithmetic, so the numbers of a run do not change. Evaluation, the
    loss and the optimizer are not captured. With `--trainer.detect_anomaly true` nothing is.

    Only networks are captured whose `layer` is a recurrent layer of `kernels` on the Triton backend. They must be
    called with tensors of equal shapes in every step.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Capture the network from its third step on."""
        network: Any = pl_module.network
        alone_on_gpu = pl_module.device.type == "cuda" and trainer.world_size == 1
        if alone_on_gpu and has_gpu_kernel(network) and not trainer._detect_anomaly:
            network.forward = Graphed(network)  # hides the method of the class

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Free the graphs."""
        vars(pl_module.network).pop("forward", None)


def has_gpu_kernel(network: Any) -> bool:
    """Return whether the Triton backend runs a network's `layer`, so that nothing in it waits for the CPU."""
    layer = getattr(network, "layer", None)
    if not isinstance(layer, RecurrentLayer):
        return False
    return layer.choose(B=1, tokens=True, ragged=False, learning=True).backend == "triton"


class Graphed:
    """The `forward` of a network that captures a graph when it sees shapes for the third time in training.

    Args:
        network: the network, on a CUDA device.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.eager: Callable[..., Any] = network.forward
        self.seen: Counter[Any] = Counter()
        self.graphs: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Return the results of the network; arguments are tensors, None, or tuples of them."""
        if not (self.network.training and torch.is_grad_enabled()):
            return self.eager(*arguments)
        values, tree = tree_flatten(arguments)
        tensors = [value for value in values if isinstance(value, Tensor)]
        key = str(tree), *(value if value is None else (value.shape, value.dtype) for value in values)
        if key not in self.graphs:
            self.seen[key] += 1
            if self.seen[key] < 3 or len(self.graphs) == AT_MOST:
                return self.eager(*arguments)
            self.graphs[key] = capture(Flat(self.network, self.eager, values, tree), tensors)
        return self.graphs[key](*tensors)


class Flat(nn.Module):
    """A network as a function of tensors alone.

    Args:
        network: the network, whose parameters get the gradients.
        forward: its own `forward`.
        values: a list of its arguments; tensors stand for other tensors, None for itself.
        tree: how these make up the arguments.
    """

    def __init__(self, network: nn.Module, forward: Callable[..., Any], values: list[Any], tree: TreeSpec) -> None:
        super().__init__()
        self.network, self.own = network, forward
        self.present, self.tree = [value is not None for value in values], tree

    def forward(self, *tensors: Tensor) -> Any:
        """Return the results of the network."""
        given = iter(tensors)
        return self.own(*tree_unflatten([next(given) if here else None for here in self.present], self.tree))


def capture(module: nn.Module, tensors: list[Tensor]) -> Callable[..., Any]:
    """Return a function like the module whose passes are CUDA graphs.

    Its results stay valid until the next call. The generator of dropout is left as it was found.
    """
    device = tensors[0].device
    samples = tuple(tensor.clone().requires_grad_(tensor.requires_grad) for tensor in tensors)
    generator = torch.cuda.get_rng_state(device)
    # Capturing makes the nodes that add up gradients on a stream of its own. The warning is about exactly that.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), False):
        graphed = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True)
    torch.cuda.set_rng_state(generator, device)
    return graphed
