"""The fast paths with the instruction set limited to AVX2, as on most processors without AVX-512.

torch and oneDNN read the limits once, when a process starts, so a pytest of its own runs the other files' tests.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CODE = """
import sys
import pytest
import torch

assert torch.backends.cpu.get_cpu_capability() == "AVX2"
assert not torch.ops.mkldnn._is_mkldnn_bf16_supported()
sys.exit(pytest.main(sys.argv[1:]))
"""
QUICK = "(dispatch or autocast or 16_bit or sixteen_bits) and not triton and not importing"

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these limits are x86's")


@pytest.mark.parametrize(
    ("marks", "names"),
    [("not slow and not gpu", QUICK), pytest.param("not gpu", "not triton", marks=pytest.mark.slow)],
    ids=["quick", "all"],
)
def test_kernels_with_avx2(marks: str, names: str) -> None:
    words = ["-q", "-p", "no:cacheprovider", "--deselect", f"tests/kernels/{Path(__file__).name}", "tests/kernels"]
    command = [sys.executable, "-c", CODE, *words, "-m", marks, "-k", names]
    environment = os.environ | AVX2 | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
