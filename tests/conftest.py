"""Settings that every test shares."""

from __future__ import annotations

import os

# Small models on few cores: threads that wait for each other would dominate.
os.environ.setdefault("OMP_NUM_THREADS", "1")
