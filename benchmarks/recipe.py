"""The reference recipe against a constant learning rate, on a small ResNet and a small ViT over an image folder of handwritten digits.

    python benchmarks/recipe.py [SEEDS] [--first-seed 0] [--model resnet] [--variant recipe]

300 digits for training, the last 600 for validation, by other writers (examples/digit_images.py). Every variant gets the same model, images,
epochs and batch size. Prints the accuracy of the last epoch, so that no variant is helped by choosing one; mean and spread over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from trainlint.recipe import Pieces, Problem, Recipe, image_folder_problem
from trainlint.recipe.ablation import compare

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from digit_images import write

MODELS = {
    "resnet": ("test_resnet", {}, 32),
    "vit": ("vit_tiny_patch16_224", {"patch_size": 4, "depth": 4, "embed_dim": 64, "num_heads": 4}, 16),
}
EPOCHS, BATCH, RATE = 60, 16, 2e-3


def problem(folder: Path, model: str) -> Problem:
    """The model over the digits, with the validation images decoded once."""
    name, options, size = MODELS[model]
    build = image_folder_problem(folder, name, size=size, model_options=options)
    kept: list[object] = []

    def cached(recipe: Recipe) -> Pieces:
        pieces = build(recipe)
        if not kept:
            kept.extend(pieces.val_loader)
        return replace(pieces, val_loader=kept)

    return cached


def variants(samples: int) -> dict[str, Recipe]:
    """The recipe, and what most first scripts do."""
    common = {"epochs": EPOCHS, "batch_size": BATCH, "hflip": 0.0}
    recipe = Recipe(**common, lr=RATE, keep_best=False).scaled_to(samples)
    return {
        "recipe": recipe,
        "adam": Recipe.plain("adam", 1e-3, **common),
        "sgd": Recipe.plain("sgd", 0.1, **common),
    }


def main() -> None:
    """Print a row for each model and variant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="?", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--model", choices=list(MODELS))
    parser.add_argument("--variant", choices=["recipe", "adam", "sgd"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch))
        for model in [options.model] if options.model else MODELS:
            chosen = {k: v.change(seed=options.first_seed) for k, v in variants(300).items() if options.variant in (None, k)}
            for trial in compare(problem(Path(scratch), model), chosen, seeds=options.seeds):
                last = [100 * (h.last.val_accuracy or 0) for h in trial.histories]
                best = statistics.fmean(100 * (h.best.val_accuracy or 0) for h in trial.histories)
                spread = statistics.stdev(last) if len(last) > 1 else float("nan")
                each = " ".join(f"{a:.1f}" for a in last)
                print(f"{model:7s} {trial.name:7s} last {statistics.fmean(last):5.1f} ± {spread:.1f} ({each})  best epochs {best:5.1f}  {trial.seconds:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
