"""Callbacks for training frameworks: a check before the fit, and a watch during it.

``trainlint.adapters.lightning``, ``.transformers`` and ``.ignite`` each import their framework, which is no dependency of this package.
"""
