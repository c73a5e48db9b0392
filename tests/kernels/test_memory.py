"""Workspaces: ordinary tensors whose memory is used again, never while anybody can see it."""

import collections
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from kernels.scripted import memory
from kernels.scripted.memory import held, release, workspace

LIKE = torch.empty(0)
BIG = (1 << 18,)  # 1 MiB of float32


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    release()


def test_memory_is_used_again_when_the_last_tensor_is_gone() -> None:
    first = workspace(LIKE, *BIG)
    address = first.data_ptr()
    view = first[10:20]
    del first
    assert workspace(LIKE, *BIG).data_ptr() != address, "a view still sees the memory"
    view.fill_(3.0)
    before = held()
    del view
    assert held().in_use == before.in_use - 4 * BIG[0]
    again = [workspace(LIKE, *BIG) for _ in range(2)]
    assert address in [tensor.data_ptr() for tensor in again]


def test_an_autograd_graph_keeps_its_memory() -> None:
    leaf = torch.ones(BIG, requires_grad=True)
    saved = workspace(LIKE, *BIG).fill_(2.0)
    product = leaf * saved
    address = saved.data_ptr()
    del saved
    other = workspace(LIKE, *BIG).fill_(5.0)
    assert other.data_ptr() != address
    product.sum().backward()
    assert leaf.grad.eq(2).all()


def test_no_more_is_kept_than_was_in_use_at_one_time() -> None:
    for count in range(1, 20):
        workspace(LIKE, BIG[0] * count)
        in_use, peak, kept = held()
        assert in_use + kept <= peak
    assert held().peak <= 4 * 20 * BIG[0]
    release()
    assert held() == (held().in_use, held().in_use, 0)


def test_nearly_equal_sizes_share_a_block() -> None:
    address = workspace(LIKE, 1000, 1000).data_ptr()
    assert workspace(LIKE, 1010, 1000).data_ptr() == address


def test_small_ones_and_other_devices_are_ordinary() -> None:
    before = held()
    assert workspace(LIKE, 5, 3).shape == (5, 3)
    assert workspace(LIKE.to("meta"), *BIG).device.type == "meta"
    assert workspace(LIKE.double(), 0, 7).shape == (0, 7)
    assert held() == before


def test_too_much_is_an_error_that_leaves_nothing_behind() -> None:
    before = held()
    with pytest.raises(MemoryError, match="cannot have"):
        workspace(LIKE, 1 << 46)
    assert held() == before


def test_threads() -> None:
    def churn(number: int) -> None:
        draw, kept = random.Random(number), collections.deque(maxlen=8)
        for _ in range(800):
            kept.append(workspace(LIKE, BIG[0] + draw.randrange(8) * (1 << 15)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(churn, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert held().in_use == 0


def test_other_dtypes() -> None:
    tensor = workspace(torch.empty(0, dtype=torch.bfloat16), 1024, 1024)
    assert (tensor.dtype, tensor.shape) == (torch.bfloat16, (1024, 1024))
    assert memory.workspace(tensor, 1024, 1024).dtype == torch.bfloat16
