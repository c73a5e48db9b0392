"""A short hash of data, by which a checkpoint identifies its training data independently of their path."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def fingerprint(parts: Iterable[Tensor | str]) -> str:
    """Return a hash of tensors (type, shape and values) and texts as 16 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            content = part.encode("utf-8", "surrogatepass")
            found.update(f"text {len(content)} ".encode())
            found.update(content)
            continue
        sparse = part.layout == torch.sparse_csr
        for tensor in (part.crow_indices(), part.col_indices(), part.values()) if sparse else (part,):
            found.update(f"{tensor.dtype} {[*part.shape]} ".encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
