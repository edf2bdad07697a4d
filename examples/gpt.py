"""A small GPT on the letters of a text that every Python brings along, by windows drawn at random, without a DataLoader.

python examples/gpt.py                                       # trains; from 3.9 to about 2 nats a letter
trainlint scan examples/gpt.py                               # clean
trainlint scan examples/gpt.py -- --bug no-causal-mask       # each letter sees the ones it is to predict
"""

import argparse
import inspect
import math
import typing

import torch
import torch.nn.functional as F
from torch import nn

CONTEXT, WIDTH, HEADS, LAYERS = 48, 64, 4, 2


class Block(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, _ = x.shape
        q, k, v = (part.view(batch, time, HEADS, -1).transpose(1, 2) for part in self.qkv(self.norm_1(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, WIDTH))
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    def __init__(self, letters: int, causal: bool = True) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(letters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block(causal) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters, bias=False)
        self.apply(self._start)

    @staticmethod
    def _start(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


def windows(ids: torch.Tensor, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Letters (B, T) and the letters that follow each of them."""
    starts = torch.randint(0, len(ids) - CONTEXT - 1, (batch,))
    cut = torch.stack([ids[start : start + CONTEXT + 1] for start in starts.tolist()])
    return cut[:, :-1], cut[:, 1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--bug", choices=["no-causal-mask"])
    args = parser.parse_args()

    torch.manual_seed(0)
    text = inspect.getsource(typing)
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(letter) for letter in text])
    split = int(0.9 * len(ids))
    model = GPT(len(alphabet), causal=args.bug != "no-causal-mask")
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=2e-3, betas=(0.9, 0.95)
    )
    for step in range(args.steps):
        done = step / args.steps
        rate = 2e-3 * (min(1.0, (step + 1) / 20) if step < 20 else 0.1 + 0.45 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        inputs, targets = windows(ids[:split], batch=16)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            model.eval()
            with torch.no_grad():
                inputs, targets = windows(ids[split:], batch=64)
                held_out = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            print(f"step {step + 1}: loss {loss.item():.3f}, held out {held_out.item():.3f}")


if __name__ == "__main__":
    main()
