"""PyTorch's own tests of recurrent layers, with the layers of `kernels` in the place of torch.nn's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = os.environ.get("PYTORCH_SOURCE", "")


def outcomes(layers: str) -> dict[str, list[str]]:
    """Return every test's outcome, in a process of its own with torch.nn's layers ("torch") or ours ("own")."""
    script = Path(__file__).parent / "run_torch_tests.py"
    environment = os.environ | {"PYTORCH_PRINT_REPRO_ON_FAILURE": "0", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", str(script), SOURCE, layers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment, check=False)
    assert done.returncode == 0, "these tests need a checkout of the installed torch's release\n" + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE, reason="PYTORCH_SOURCE names no checkout of PyTorch")
def test_what_passes_with_torch_nn_passes_with_ours() -> None:
    theirs, ours = outcomes("torch"), outcomes("own")
    passing = {name for name, (outcome, _) in theirs.items() if outcome == "passed"}
    assert len(passing) >= 15, f"so few tests of recurrent layers are no proof: {sorted(passing)}"
    differing = {name: ours[name] for name in passing if ours[name][0] != "passed"}
    assert not differing, differing
