"""What this machine's processor can compute. torch and oneDNN are asked, since a limit may be set for them.

ONEDNN_MAX_CPU_ISA limits oneDNN, as on an older processor. oneDNN reads it once, when a process first asks.
"""

import platform

import torch

ASKED = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


def onednn_is_on() -> bool:
    """Return whether torch's own operators use oneDNN: it may be missing, or switched off."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


def onednn_has(dtype: torch.dtype) -> bool:
    """Return whether oneDNN has an LSTM of a dtype for this processor; in bfloat16 it needs AVX-512."""
    if dtype in ASKED:
        return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, ASKED[dtype])())
    return dtype == torch.float32


def computes(dtype: torch.dtype, device: str) -> bool:
    """Return whether a kind of device has instructions for products in 16 bits, which else take many times longer.

    oneDNN has an LSTM in bfloat16 wherever there is AVX-512, but without AVX512-BF16 it emulates the products.
    """
    if device == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return True
    x86 = platform.machine() in ("x86_64", "AMD64")
    return onednn_has(dtype) and not (
        x86 and dtype == torch.bfloat16 and not torch.cpu._is_avx512_bf16_supported()  # AMX comes with it
    )


# torch.compile calls these once and traces nothing. The decorator torch.compiler.assume_constant_result does the same,
# but imports the compiler, and triton with it.
onednn_is_on._dynamo_marked_constant = True  # type: ignore[attr-defined]
onednn_has._dynamo_marked_constant = True  # type: ignore[attr-defined]
computes._dynamo_marked_constant = True  # type: ignore[attr-defined]
