"""Whether the token that fills up short samples also stands for something in them: what is told apart by its value is then lost.

Some samples are put into a batch one by one, which leaves them as they are, and together, which fills up the shorter ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainlint.measurements import SharedToken
from trainlint.probes.data.datasets import Samples
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.structure import tensor_leaves

__all__ = ["shared_token"]

#: Samples that are put together.
_SAMPLES = 16


def shared_token(samples: Samples, role: Callable[[str], str]) -> SharedToken | None:
    """The first input of token ids that is filled up with one of them; None where none is filled up, or the token stands for nothing else."""
    plain = not samples.iterable and samples.single and samples.loader.batch_sampler is not None
    pool = samples.pool if plain else ()
    if len(pool) < _SAMPLES:
        return None
    chosen = [pool[i * (len(pool) - 1) // (_SAMPLES - 1)] for i in range(_SAMPLES)]
    with randomness_kept(), torch.no_grad():
        try:
            seed_all(0)
            raw = [samples.raw(i) for i in chosen]
            alone = [dict(tensor_leaves(samples.batch(one))) for one in raw]
            together = dict(tensor_leaves(samples.loader.collate_fn(raw)))
        except Exception:
            return None
    for path, batch in together.items():
        rows = [one[path][0] for one in alone if path in one and one[path].dim() == 2 and len(one[path]) == 1]
        if role(path) != "input" or batch.dim() != 2 or batch.is_floating_point() or len(rows) != len(batch):
            continue
        if _told(together, torch.tensor([len(row) for row in rows])):
            return None
        fill = torch.cat([batch[i, len(row) :] for i, row in enumerate(rows) if torch.equal(batch[i, : len(row)], row)])
        if len(fill) and bool((fill == fill[0]).all()):
            inner = torch.cat([row[:-1] for row in rows])  # the last may be an end mark that padding shares
            return SharedToken(path=path, token=int(fill[0]), share=float((inner == fill[0]).float().mean()))
    return None


def _told(batch: dict[str, Tensor], lengths: Tensor) -> bool:
    """Whether a batch says how long its samples are: as numbers, or by a mask of what is real or of what is not."""
    for tensor in batch.values():
        mask = tensor.dim() == 2 and len(tensor) == len(lengths) and not bool(((tensor != 0) & (tensor != 1)).any())
        counts = (tensor != 0).sum(1) if mask else tensor
        if counts.shape == lengths.shape:
            found = counts.cpu().long()
            if torch.equal(found, lengths) or (mask and torch.equal(tensor.shape[1] - found, lengths)):
                return True
    return False
