"""What this machine's processor can compute. torch and oneDNN are asked, since a limit may be set for them.

ONEDNN_MAX_CPU_ISA limits oneDNN, as on an older processor. oneDNN reads it once, when a process first asks.
"""

import torch

ASKED = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


def onednn_is_on() -> bool:
    """Tell whether torch's own operators use oneDNN: it may be missing, or switched off."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


def onednn_has(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN has an LSTM of a dtype for this processor; in bfloat16 it needs AVX-512."""
    if dtype in ASKED:
        return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, ASKED[dtype])())
    return dtype == torch.float32


# torch.compile asks once, and traces nothing of it. The decorator torch.compiler.assume_constant_result does the same,
# but imports the compiler, and with it triton.
onednn_has._dynamo_marked_constant = True  # type: ignore[attr-defined]
