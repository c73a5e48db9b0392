"""Where a result was made: the code's commit, the date, the versions and the machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from kernels.processor import computes

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "pytorch-lightning", "torch-geometric")
INSTRUCTIONS = {"AVX512": "AVX-512", "DEFAULT": ""}  # torch's names, where ours differ


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what must be known of a result to make it again.

    Args:
        device: where the network was trained.

    Returns:
        `commit` (None outside a git checkout; it ends in "-dirty" if tracked files have changes), `date` (UTC),
        `python` and the versions of the packages, `processor` with its vector instructions, `cores`, `threads` of this
        process, and `device`.
    """
    device = torch.device(device)
    return {
        "commit": commit(ROOT),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name.replace("-", "_"): version(name) for name in PACKAGES},
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def cpu_seconds() -> float:
    """Return the CPU time of this process so far, with that of its children that have ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def commit(folder: Path) -> str | None:
    """Return the commit that is checked out in the top folder of a git repository; None if there is none, or no git."""
    if not (folder / ".git").exists():  # installed elsewhere: git would find a repository that is not this one
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=7"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def processor() -> str:
    """Return the processor's name and the instructions that decide its speed, as "AMD EPYC, AVX-512, bfloat16"."""
    capability = torch.backends.cpu.get_cpu_capability()
    bfloat16 = "bfloat16" if computes(torch.bfloat16, "cpu") else ""
    return ", ".join(filter(None, (_processor_name(), INSTRUCTIONS.get(capability, capability), bfloat16)))


def _processor_name() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
