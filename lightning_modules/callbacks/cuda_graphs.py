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

MOST_GRAPHS = 4  # of one network; each keeps the memory of its pass


class CudaGraphs(Callback):
    """Runs the forward and backward pass of a recurrent network in training as CUDA graphs, on one CUDA device.

    Launching the kernels of a small recurrent network takes the CPU longer than the GPU needs to run them. A graph
    launches all of them at once. It does the same arithmetic, so the numbers of a run do not change. Evaluation, the
    loss and the optimizer are not captured. With `--trainer.detect_anomaly true` nothing is.

    Only networks are captured whose class says `capturable = True` and whose `layer` runs on the Triton backend of
    `kernels`. In training such a network does the same in every step: it reads no values of tensors, takes no random
    choice of Python's, and is called with tensors of its device. A compiled network, or one with hooks inside, is left
    alone. If a batch calls the network several times, only the first call runs as a graph.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Capture the network from its third step on."""
        network: Any = getattr(pl_module, "network", None)
        alone_on_gpu = pl_module.device.type == "cuda" and trainer.world_size == 1
        if alone_on_gpu and is_capturable(network) and not trainer._detect_anomaly:
            network.forward = Graphed(network)  # hides the method of the class

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Let the next call run as a graph: the backward pass of the last batch, which needed its results, is over."""
        if (graphed := _graphed(pl_module)) is not None:
            graphed.called = False

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Save the gradients that are accumulated: they may lie where the graph writes those of this batch."""
        if (graphed := _graphed(pl_module)) is not None:
            for parameter in graphed.parameters:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.clone()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Free the graphs."""
        if _graphed(pl_module) is not None:
            del vars(pl_module.network)["forward"]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Free the graphs."""
        self.on_train_end(trainer, pl_module)


def _graphed(pl_module: LightningModule) -> "Graphed | None":
    forward = getattr(getattr(pl_module, "network", None), "forward", None)
    return forward if isinstance(forward, Graphed) else None


def is_capturable(network: Any) -> bool:
    """Return whether a network can be captured, and the Triton backend runs its `layer`."""
    if not getattr(network, "capturable", False) or not isinstance(network.layer, RecurrentLayer):
        return False
    compiled = "forward" in vars(network) or network._compiled_call_impl is not None
    return not compiled and network.layer.choose(B=1, tokens=True, ragged=False, learning=True).backend == "triton"


def has_hooks(network: nn.Module) -> bool:
    """Return whether Python functions would have to run inside the passes of a network."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    inside = [module for module in network.modules() if module is not network]
    return any(getattr(module, name) for module in inside for name in hooks) or any(
        parameter._backward_hooks for parameter in network.parameters()
    )


class Graphed:
    """Replaces a network's `forward`. In training it captures a graph when inputs have the same shapes a third time.

    There is a graph for each combination of shapes. A parameter that is frozen or moved in memory needs a new graph.

    Args:
        network: the network, on a CUDA device.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.parameters = list(network.parameters())
        self.eager: Callable[..., Any] = network.forward
        self.called = False  # whether this batch has had its graph, whose results another call would overwrite
        self.seen: Counter[Any] = Counter()
        self.graphs: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the results of the network; arguments are tensors, None, or tuples of them."""
        if named or self.called or not (self.network.training and torch.is_grad_enabled()):
            return self.eager(*arguments, **named)
        values, tree = tree_flatten(arguments)
        tensors = [value for value in values if isinstance(value, Tensor)]
        inputs = (value if value is None else (value.shape, value.dtype, value.requires_grad) for value in values)
        key = str(tree), *inputs, *((parameter.data_ptr(), parameter.requires_grad) for parameter in self.parameters)
        if key not in self.graphs:
            self.seen[key] += 1
            if self.seen[key] < 3 or len(self.graphs) == MOST_GRAPHS or has_hooks(self.network):
                return self.eager(*arguments)
            self.graphs[key] = capture(Flat(self.network, self.eager, values, tree), tensors)
        self.called = True
        return self.graphs[key](*tensors)


class Flat(nn.Module):
    """A network as a function of tensors alone.

    Args:
        network: the network, whose parameters get the gradients.
        forward: its own `forward`.
        values: its arguments as a flat list of tensors and None. Only where the Nones are is used.
        tree: how the list makes up the arguments.
    """

    def __init__(self, network: nn.Module, forward: Callable[..., Any], values: list[Any], tree: TreeSpec) -> None:
        super().__init__()
        self.network, self.eager = network, forward
        self.present, self.tree = [value is not None for value in values], tree

    def forward(self, *tensors: Tensor) -> Any:
        """Return the results of the network."""
        given = iter(tensors)
        return self.eager(*tree_unflatten([next(given) if here else None for here in self.present], self.tree))


def capture(module: nn.Module, tensors: list[Tensor]) -> Callable[..., Any]:
    """Return a function like the module whose passes are CUDA graphs.

    Its results and gradients stay valid until the next call. The generator of dropout is left as it was found.
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
