"""Which parameters began with learned values: loaded, of a pretrained model, or trained earlier in the same script."""

from __future__ import annotations

from torch import nn

from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording

__all__ = ["pretrained_parameters"]


def pretrained_parameters(recording: Recording) -> dict[int, str]:
    """Id of a parameter -> how its learned value came about. A head that was replaced after loading is not among them."""
    found = dict.fromkeys(recording.trained_before, "an earlier training in this script")
    for model in recording.models():
        for module in model.modules():
            if (how := recording.loaded.get(id(module))) is not None:
                found.update((id(p), how) for p in parameters_of(module, recurse=False))
        for parameter in _of_hugging_face(model):
            found.setdefault(id(parameter), "a pretrained checkpoint")
    return found


def _of_hugging_face(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the body of models that carry the name of their checkpoint; what heads they were given is not known."""
    bodies = [m for m in model.modules() if isinstance(path := getattr(m, "name_or_path", ""), str) and path]
    return [p for m in bodies for p in parameters_of(_body(m))]


def _body(module: nn.Module) -> nn.Module:
    body = getattr(module, "base_model", module)
    return body if isinstance(body, nn.Module) else module
