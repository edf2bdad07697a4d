"""What a run ran on: versions, device and seed, and nothing that names a person or a path."""

from __future__ import annotations

import platform

import torch

from trainlint.settings import Settings

__all__ = ["environment"]


def environment(settings: Settings) -> dict[str, str]:
    """Names and values as a report lists them; ``seed`` is that of the measurements' own randomness."""
    device = "Apple MPS" if torch.backends.mps.is_available() else "CPU"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": platform.platform(terse=True),
        "threads": str(torch.get_num_threads()),
        "device": device,
        "seed": str(settings.seed or 0),
    }
