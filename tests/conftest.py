"""Settings that every test shares."""

from __future__ import annotations

import os

# Small models on few cores: threads that wait for each other would dominate.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import pytest
import torch

torch.manual_seed(0)  # data that test modules draw when they are imported


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
