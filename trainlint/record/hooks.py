"""Puts the recorder's ears on torch: patches a dozen public entry points while recording, and takes them off again."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from trainlint.record.recorder import Recorder
from trainlint.record.recording import Iteration
from trainlint.record.tapewriter import TapeWriter

__all__ = ["listening", "note_datasets", "opaque_functions", "replace_attribute"]


@contextmanager
def listening(recorder: Recorder) -> Iterator[None]:
    """While the context lasts, what the thread does with torch is told to ``recorder``."""
    with ExitStack() as stack:
        for install in (_loaders, _modules, _gradients, _optimizers, _schedulers, _modes, _compilation):
            install(recorder, lambda owner, name, new: replace_attribute(stack, owner, name, new))
        before = register_optimizer_step_pre_hook(_step_begun(recorder))
        stack.callback(before.remove)
        after = register_optimizer_step_post_hook(_step_ended(recorder))
        stack.callback(after.remove)
        stack.enter_context(recorder.writer)
        yield


def note_datasets(recorder: Recorder) -> None:
    """Note where each dataset is built. For a process of the recorder's own: Python cannot take a ``__new__`` off a class again."""

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        following = super(Dataset, cls).__new__
        made = following(cls) if following is object.__new__ else following(cls, *args, **kwargs)
        if recorder.awake:
            recorder.recording.places[id(made)] = recorder.frames.here()
        return made

    Dataset.__new__ = __new__  # type: ignore[method-assign]


Replace = Callable[[Any, str, Any], None]


def replace_attribute(stack: ExitStack, owner: Any, name: str, new: Any) -> None:
    """Set an attribute of a class or module until the stack closes."""
    inherited = isinstance(owner, type) and name not in vars(owner)
    old = vars(owner)[name] if not inherited and isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, new)
    stack.callback(delattr, owner, name) if inherited else stack.callback(setattr, owner, name, old)


def _loaders(recorder: Recorder, replace: Replace) -> None:
    passes: dict[int, tuple[Any, Iteration]] = {}
    init, iterate, following, index = (
        DataLoader.__init__,
        DataLoader.__iter__,
        _BaseDataLoaderIter.__next__,
        _BaseDataLoaderIter._next_index,
    )

    @functools.wraps(init)
    def __init__(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.loader_built(self)

    @functools.wraps(iterate)
    def __iter__(self: DataLoader[Any]) -> Any:
        if not recorder.on:
            return iterate(self)
        for name in ("lightning.pytorch.loops.training_epoch_loop", "pytorch_lightning.loops.training_epoch_loop"):
            loop = getattr(sys.modules.get(name), "_TrainingEpochLoop", None)
            if loop is not None and loop not in lightning:
                lightning.append(loop)
                replace(loop, "_should_check_val_fx", _validating(recorder, loop._should_check_val_fx))
        begun = recorder.iteration_begun(self)  # before the iterator, which asks for indices at once when it has workers
        if begun is None:
            return iterate(self)
        passes[0] = (None, begun)
        kept = getattr(self, "_iterator", None)
        if kept is not None:  # persistent workers: the same iterator again, which asks for indices while it is reset
            passes[id(kept)] = (kept, begun)
        iterator = iterate(self)
        passes[id(iterator)] = (iterator, begun)
        return iterator

    lightning: list[Any] = []

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        if recorder.resting and recorder.awake and not recorder.rests(self):
            raise StopIteration
        entry = passes.get(id(self))
        if entry is None or not recorder.on:
            return following(self)
        begun = entry[1]
        if begun.cut_short or recorder.wants_batch(begun) is False:
            raise StopIteration
        recorder.writer.active, writing = False, recorder.writer.active
        try:
            batch = following(self)
        finally:
            recorder.writer.active = writing
        recorder.batch_loaded(begun, batch)
        return batch

    @functools.wraps(index)
    def _next_index(self: Any) -> Any:
        chosen = index(self)
        entry = passes.get(id(self)) or passes.get(0)
        if entry is not None and recorder.on and len(entry[1].indices) < 4096:
            entry[1].indices.append(list(chosen) if isinstance(chosen, list | tuple) else chosen)
        return chosen

    replace(DataLoader, "__init__", __init__)
    replace(DataLoader, "__iter__", __iter__)
    replace(_BaseDataLoaderIter, "__next__", __next__)
    replace(_BaseDataLoaderIter, "_next_index", _next_index)
    sampler = torch.utils.data.DistributedSampler
    set_epoch = sampler.set_epoch

    def noted(self: Any, epoch: int) -> None:
        set_epoch(self, epoch)
        if recorder.on:
            recorder.note("set_epoch", epoch=epoch)

    replace(sampler, "set_epoch", noted)


def _validating(recorder: Recorder, should_check: Callable[..., bool]) -> Callable[..., bool]:
    """Lightning validates after the last batch that it counted on; an epoch that is cut short ends earlier."""

    @functools.wraps(should_check)
    def checks(self: Any, *args: Any) -> bool:
        return should_check(self, *args) or (recorder.ends_here() and self._should_check_val_epoch())

    return checks


def _modules(recorder: Recorder, replace: Replace) -> None:
    call, init, load = nn.Module.__call__, nn.Module.__init__, nn.Module.load_state_dict
    restore = nn.Module.__setstate__
    stack = recorder.writer.modules

    @functools.wraps(call)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not recorder.on:
            return call(self, *args, **kwargs)
        outermost = not stack and next(self.parameters(), None) is not None
        if outermost:
            place = recorder.frames.here()
            recorder.call_begun()
        if not stack and not outermost and self._modules:
            return call(self, *args, **kwargs)  # a wrapper without parameters: a transform, a metric
        stack.append(self)
        try:
            output = call(self, *args, **kwargs)
        finally:
            stack.pop()
        if outermost:
            recorder.call_ended(self, args, kwargs, output, place)
        return output

    @functools.wraps(init)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.recording.places[id(self)] = recorder.frames.here(building=self)
            recorder.recording.loaded.pop(id(self), None)  # a module that is gone may have had the same id

    @functools.wraps(restore)
    def __setstate__(self: nn.Module, state: Any) -> None:
        restore(self, state)
        if recorder.on:  # copied or unpickled, without __init__
            recorder.recording.places[id(self)] = recorder.frames.here()

    @functools.wraps(load)
    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = load(self, *args, **kwargs)
        if recorder.awake and not recorder.steps_done:
            recorder.note("load", type(self).__name__)
            given = args[0] if args else kwargs.get("state_dict", {})
            for name, module in self.named_modules():
                if _has_values_for(module, f"{name}." if name else "", given):
                    recorder.recording.loaded[id(module)] = "load_state_dict()"
        return result

    replace(nn.Module, "__call__", __call__)
    replace(nn.Module, "__init__", __init__)
    replace(nn.Module, "__setstate__", __setstate__)
    replace(nn.Module, "load_state_dict", load_state_dict)


def _has_values_for(module: nn.Module, prefix: str, given: Mapping[str, Any]) -> bool:
    """Whether a state dict holds a parameter of the module's own; for a module without any, anything below it."""
    own = dict(module.named_parameters(recurse=False))
    return any(prefix + name in given for name in own) if own else any(key.startswith(prefix) for key in given)


def _gradients(recorder: Recorder, replace: Replace) -> None:
    tensor_backward, backward = Tensor.backward, torch.autograd.backward
    clear, module_clear = Optimizer.zero_grad, nn.Module.zero_grad
    depth = [0]

    def around(loss: Any, run: Callable[[], Any]) -> Any:
        if not recorder.on or depth[0] or not isinstance(loss, Tensor):
            return run()
        depth[0] += 1
        try:
            seen = recorder.backward_begun(loss)
            result = run()
            if seen is not None:
                recorder.backward_ended(seen)
        finally:
            depth[0] -= 1
        return result

    @functools.wraps(tensor_backward)
    def _tensor_backward(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return around(self, lambda: tensor_backward(self, *args, **kwargs))

    @functools.wraps(backward)
    def _backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        first = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        return around(first, lambda: backward(tensors, *args, **kwargs))

    @functools.wraps(clear)
    def zero_grad(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        result = clear(self, *args, **kwargs)
        if recorder.on:
            recorder.cleared((p for g in self.param_groups for p in g["params"]), type(self).__name__)
        return result

    @functools.wraps(module_clear)
    def module_zero_grad(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = module_clear(self, *args, **kwargs)
        if recorder.on:
            recorder.cleared(self.parameters(), type(self).__name__)
        return result

    replace(Tensor, "backward", _tensor_backward)
    replace(torch.autograd, "backward", _backward)
    replace(Optimizer, "zero_grad", zero_grad)
    replace(nn.Module, "zero_grad", module_zero_grad)
    for owner in (torch.nn.utils, torch.nn.utils.clip_grad):
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            replace(owner, name, _clip(recorder, getattr(owner, name), by_norm=name == "clip_grad_norm_"))
    scaler = torch.amp.grad_scaler.GradScaler
    scale, unscale, take = scaler.scale, scaler.unscale_, scaler.step

    def scaled(self: Any, outputs: Any) -> Any:
        result = scale(self, outputs)
        if recorder.on and self.is_enabled() and isinstance(outputs, Tensor):
            recorder.scaled(float(self.get_scale()))
        return result

    def unscaled(self: Any, optimizer: Optimizer) -> Any:
        result = unscale(self, optimizer)
        if recorder.on and self.is_enabled():
            recorder.unscaled()
        return result

    def stepped(self: Any, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        recorder.in_scaler = self.is_enabled()
        try:
            return take(self, optimizer, *args, **kwargs)
        finally:
            recorder.in_scaler = False

    replace(scaler, "scale", scaled)
    replace(scaler, "step", stepped)
    replace(scaler, "unscale_", unscaled)


def _clip(recorder: Recorder, clip: Callable[..., Any], *, by_norm: bool) -> Callable[..., Any]:
    @functools.wraps(clip)
    def clipped(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        kept = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        result = clip(kept, *args, **kwargs)
        limit = args[0] if args else kwargs.get("max_norm", kwargs.get("clip_value"))
        if recorder.on and limit is not None:
            recorder.clipped(kept, float(limit), float(result) if by_norm else None)
        return result

    return clipped


def _has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a step is handed a function that computes the loss; ``args`` begins with the optimizer itself."""
    return any(callable(a) for a in (*args[1:], *kwargs.values()))


def _step_begun(recorder: Recorder) -> Callable[..., None]:
    def begun(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if recorder.resting and recorder.awake:
            recorder.rests(recorder)
        if recorder.on:
            recorder.step_begun(optimizer, closure=_has_closure(args, kwargs))

    return begun


def _step_ended(recorder: Recorder) -> Callable[..., None]:
    def ended(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if recorder.on:
            recorder.step_ended(optimizer, closure=_has_closure(args, kwargs))

    return ended


def _optimizers(recorder: Recorder, replace: Replace) -> None:
    init = Optimizer.__init__

    @functools.wraps(init)
    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.optimizer_built(self)

    replace(Optimizer, "__init__", __init__)


def _schedulers(recorder: Recorder, replace: Replace) -> None:
    depth = [0]

    def wrap_init(init: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            depth[0] += 1
            try:
                init(self, *args, **kwargs)
            finally:
                depth[0] -= 1
            if recorder.on and not depth[0]:
                recorder.scheduler_built(self)

        return __init__

    def wrap_step(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            try:
                result = step(self, *args, **kwargs)
            finally:
                depth[0] -= 1
            if recorder.on and not depth[0]:
                given = args[0] if args else kwargs.get("metrics")
                try:
                    metric = float(given) if given is not None and isinstance(self, lr_scheduler.ReduceLROnPlateau) else None
                except (TypeError, ValueError):
                    metric = None
                recorder.scheduler_stepped(self, metric)
            return result

        return stepped

    kinds = [k for k in vars(lr_scheduler).values() if isinstance(k, type) and issubclass(k, lr_scheduler.LRScheduler)]
    for kind in dict.fromkeys(kinds):
        if "__init__" in vars(kind):
            replace(kind, "__init__", wrap_init(vars(kind)["__init__"]))
        if "step" in vars(kind):
            replace(kind, "step", wrap_step(vars(kind)["step"]))


def _modes(recorder: Recorder, replace: Replace) -> None:
    train, freeze = nn.Module.train, nn.Module.requires_grad_
    depth = [0]

    @functools.wraps(train)
    def switched(self: nn.Module, mode: bool = True) -> Any:
        depth[0] += 1
        try:
            result = train(self, mode)
        finally:
            depth[0] -= 1
        if recorder.on and not depth[0]:
            place = recorder.frames.here()
            if next(self.parameters(), None) is not None:
                recorder.note("train" if mode else "eval", type(self).__name__, place)
            for module in self.modules():
                recorder.recording.modes[id(module)] = place
        return result

    @functools.wraps(freeze)
    def frozen(self: nn.Module, requires_grad: bool = True) -> Any:
        if recorder.on and not requires_grad:
            recorder.recording.frozen_at = recorder.frames.here()
        return freeze(self, requires_grad)

    replace(nn.Module, "train", switched)
    replace(nn.Module, "requires_grad_", frozen)
    grad_mode = torch.autograd.grad_mode
    stack = recorder.writer.off_at
    enter, leave = grad_mode.no_grad.__enter__, grad_mode.no_grad.__exit__

    def no_grad_enter(self: Any) -> None:
        stack.append(recorder.frames.here() if recorder.on else None)
        enter(self)

    def no_grad_exit(self: Any, *error: Any) -> None:
        if stack:
            stack.pop()
        leave(self, *error)

    replace(grad_mode.no_grad, "__enter__", no_grad_enter)
    replace(grad_mode.no_grad, "__exit__", no_grad_exit)
    setter = grad_mode.set_grad_enabled
    init, closed = setter.__init__, setter.__exit__

    @functools.wraps(init)
    def set_grad_init(self: Any, mode: bool) -> None:
        init(self, mode)
        # Libraries switch gradients off and back around their own work; what counts is what the user's code switched.
        if not recorder.on:
            return
        if mode:
            recorder.recording.grad_off = None
        elif recorder.frames.is_user(sys._getframe(1).f_code.co_filename):
            recorder.recording.grad_off = recorder.frames.here()

    def set_grad_exit(self: Any, *error: Any) -> None:
        closed(self, *error)
        if recorder.on and torch.is_grad_enabled():
            recorder.recording.grad_off = None

    replace(setter, "__init__", set_grad_init)
    replace(setter, "__exit__", set_grad_exit)


def _compilation(recorder: Recorder, replace: Replace) -> None:
    """torch.compile hands the function back; autograd functions are one operation."""
    compile_ = torch.compile

    @functools.wraps(compile_)
    def uncompiled(model: Any = None, **_: Any) -> Any:
        return (lambda function: function) if model is None else model

    replace(torch, "compile", uncompiled)
    module_compile = nn.Module.compile
    replace(nn.Module, "compile", functools.wraps(module_compile)(lambda self, *args, **kwargs: None))
    opaque_functions(recorder, replace)


class Writing(Protocol):
    """Who has a tape written, and whether it listens."""

    writer: TapeWriter

    @property
    def on(self) -> bool:
        """Whether to look at all."""
        ...


def opaque_functions(listener: Writing, replace: Replace) -> None:
    """Custom autograd functions are one operation of a tape; checkpointed ones run in the open."""
    function = torch.autograd.Function
    apply = inspect.getattr_static(function, "apply")
    writer = listener.writer

    def opaque(cls: Any, *args: Any, **kwargs: Any) -> Any:
        original = apply.__get__(None, cls)
        if not (writer.active and listener.on):
            return original(*args, **kwargs)
        return writer.write("apply", original, args, kwargs)

    replace(function, "apply", classmethod(opaque))
    checkpoint = torch.utils.checkpoint.CheckpointFunction
    reentrant = checkpoint.apply

    def in_the_open(_: Any, run: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return run(*args) if writer.active and listener.on else reentrant(run, preserve, *args)

    replace(checkpoint, "apply", classmethod(in_the_open))
