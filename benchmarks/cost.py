"""What a full preflight costs, in steps of the user's own, beside what others take for a part of the same checks.

    nice -n -10 python benchmarks/cost.py [MODEL ...] [--batch N]

For a small CNN, resnet18, ViT-tiny and a 4-layer GPT (those of overhead.py, on data with something to learn) it runs every probe of
``trainlint.check`` and prints **step-equivalents**: CPU time over the median CPU time of a bare training step. Beside it stand a floor
(one recorded step, a plain loop that overfits 4 samples, a range test of 50 steps) and a chain of other tools in the same process: torch-lr-finder's range test of
100 steps, 200 steps on one batch, preflight-ml, and Lightning's lr_find with overfit_batches. Those that are not installed are left out.
"""
