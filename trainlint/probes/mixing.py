"""Whether one sample's input reaches another sample's prediction, and whether a prediction of the next token sees it.

The forward is run again with one sample exchanged (or one token disturbed), and the predictions that change are compared with
those that may. When others change too, each operation's output is looked at, from the prediction back to the first that mixes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainlint.measurements import Mixing
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.exchange import MOVES, Exchange, position_of, sample_of
from trainlint.probes.spread import Spread
from trainlint.record.recording import Recording, state_tensors
from trainlint.record.structure import batch_size
from trainlint.record.tape import Operation, Ref, Tape
from trainlint.settings import Settings

__all__ = ["measure_mixing"]
