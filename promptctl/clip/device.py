"""Where to compute, as far as it can be told without PyTorch, whose import costs seconds."""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

# what the drivers of NVIDIA and AMD leave behind, on Linux, in its guise under Windows, and on Windows
_OF_DRIVERS = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/nvhost-gpu",
    "/dev/kfd",
    "/dev/dxg",
    r"C:\Windows\System32\nvcuda.dll",
)


def is_cpu(asked: str) -> bool:
    """Whether `--device` means the processor; where a GPU seems to be there, PyTorch has to say."""
    return asked == "cpu" or (asked == "auto" and not (_has_torch() and seems_to_have_gpu()))


def seems_to_have_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return apple or any(Path(path).exists() for path in _OF_DRIVERS)


def _has_torch() -> bool:
    return find_spec("torch") is not None
