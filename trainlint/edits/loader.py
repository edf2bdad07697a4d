"""Edits of data loaders: order, last batch, seeds of workers."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, statement
from trainlint.edits.script import Scope, Script, Unsure, dotted
from trainlint.finding import Json

__all__ = [
    "cover_sampler",
    "drop_last",
    "predict_in_order",
    "reseed_workers",
    "seed_workers",
    "set_batch_size",
    "share_stream",
    "shuffle",
    "split_in_order",
    "weigh_samples",
]


def _loader(script: Script, line: int) -> cst.Call:
    """The call that builds the loader: on the line, else where the name that is iterated there was assigned."""
    built = [c for c in script.calls(line) if script.last(c).endswith("DataLoader")]
    if not built:
        head = script.statement(line)
        name = dotted(head.iter) if isinstance(head, cst.For) else ""
        built = [v for v in script.assigned(name) if isinstance(v, cst.Call) and script.last(v).endswith("DataLoader")] if name else []
    if len(built) != 1:
        raise Unsure("the line does not build just one DataLoader")
    return built[0]


def _set(script: Script, call: cst.Call, name: str, position: int, value: str, after: str, old: tuple[str, ...]) -> Changes:
    """Set an argument that is missing or has one of the old values."""
    given = argument(call, name, position)
    if given is None:
        return Changes(script).rework(call, lambda c: keyword(c, name, value, after))
    if script.code(given.value) not in old:
        raise Unsure(f"{name}={script.code(given.value)} may differ from loader to loader")
    return Changes(script).replace(given.value, expression(value))


def shuffle(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set ``shuffle=True``, in the place of a sampler that keeps the order."""
    call = _loader(script, line)
    if argument(call, "batch_sampler", 4) is not None:
        raise Unsure("the loader has a batch sampler, which decides on the order")
    sampler = argument(call, "sampler", 3)
    if sampler is None:
        return _set(script, call, "shuffle", 2, "True", "batch_size", ("False", "None"))
    if sampler.keyword is None or not (isinstance(sampler.value, cst.Call) and script.last(sampler.value) == "SequentialSampler"):
        raise Unsure("the loader has a sampler, which decides on the order")
    if argument(call, "shuffle", 2) is not None:
        raise Unsure("the loader has a sampler and shuffle")
    return Changes(script).replace(sampler, sampler.with_changes(keyword=cst.Name("shuffle"), value=cst.Name("True")))


def weigh_samples(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Look up the weight of each sample's class where a sampler was given the weights of the classes."""
    calls = [c for c in script.calls(line) if script.last(c) == "WeightedRandomSampler"]
    given = argument(calls[0], "weights", 0) if len(calls) == 1 else None
    if given is None or not dotted(given.value):
        raise Unsure("the line does not give just one sampler weights that have a name")
    weights = dotted(given.value)
    labels = _counted(script, given.value, script.scope(calls[0]))
    if labels is None or not script.visible(labels, calls[0]):
        raise Unsure(f"it is not seen which labels {weights} was counted from")
    changes = Changes(script).replace(given.value, expression(f"{weights}[{labels}]"))
    number = argument(calls[0], "num_samples", 1)
    if number is not None and weights in script.names(number.value):
        changes.replace(number.value, expression(f"len({labels})"))
    return changes


def _counted(script: Script, value: cst.BaseExpression, scope: Scope) -> str | None:
    """The labels that ``bincount`` counted on the way to a value, followed through names that are assigned once."""
    for _ in range(8):
        counts = [c for c in script.all(cst.Call, value) if script.last(c) == "bincount" and c.args]
        if counts:
            receiver = script.receiver(counts[0]) if script.full(counts[0]) not in ("torch.bincount", "numpy.bincount") else None
            return dotted(receiver if receiver is not None else counts[0].args[0].value) or None
        found = [v for name in sorted(script.names(value)) if len(set_to := script.assigned(name, scope)) == 1 for v in set_to]
        if len(found) != 1:
            return None
        value = found[0]
    return None


def predict_in_order(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Tell a skorch net not to shuffle the loader that it predicts through."""
    given = [
        a
        for a in script.all(cst.Arg)
        if a.keyword is not None and a.keyword.value == "iterator_valid__shuffle" and script.line(a.value) == line
    ]
    if len(given) != 1 or script.code(given[0].value) != "True":
        raise Unsure("the line does not set iterator_valid__shuffle=True")
    return Changes(script).replace(given[0].value, expression("False"))


def drop_last(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set ``drop_last``, to ``values["drop"]`` where given."""
    drop = bool(values.get("drop", True))
    return _set(script, _loader(script, line), "drop_last", 8, str(drop), "shuffle", (str(not drop), "None"))


def set_batch_size(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set a batch size that is a number in the call."""
    call = _loader(script, line)
    given = argument(call, "batch_size", 1)
    if given is not None and not isinstance(given.value, cst.Integer):
        raise Unsure(f"the batch size comes from {script.code(given.value)}")
    if given is None:
        return Changes(script).rework(call, lambda c: keyword(c, "batch_size", str(values["size"])))
    return Changes(script).replace(given.value, expression(str(values["size"])))


def cover_sampler(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Tell a distributed sampler the epoch, at the start of the loop over epochs."""
    call = _loader(script, line)
    sampler = argument(call, "sampler", 3)
    assign = script.around(call, cst.Assign)
    loader = dotted(assign.targets[0].target) if assign is not None and assign.value is call else ""
    if not loader:
        raise Unsure("the loader has no name to find its loop by")
    for loop in script.all(cst.For):
        if not isinstance(loop.body, cst.IndentedBlock) or not isinstance(loop.target, cst.Name) or not loop.body.body:
            continue
        inner = [n for n in script.all(cst.For, loop.body) if loader in script.names(n.iter)]
        if inner and isinstance(loop.iter, cst.Call) and script.name(loop.iter) in ("range", "trange", "tqdm"):
            name = dotted(sampler.value) if sampler is not None else ""
            name = name if name and script.visible(name, loop) else f"{loader}.sampler"
            first = loop.body.body[0]
            return Changes(script).before(first, f"{name}.set_epoch({loop.target.value})")  # type: ignore[arg-type]
    raise Unsure("the loop over epochs is not in the file that builds the loader")


def reseed_workers(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let ``worker_init_fn`` seed by what torch draws for each worker, not by a constant."""
    given = argument(_loader(script, line), "worker_init_fn", 10)
    if given is None:
        raise Unsure("the loader has no worker_init_fn")
    where: list[cst.CSTNode] = [given.value]
    if isinstance(given.value, cst.Name):
        where = [f for f in script.all(cst.FunctionDef) if f.name.value == given.value.value]
    if len(where) != 1 or not isinstance(where[0], (cst.Lambda, cst.FunctionDef)):
        raise Unsure("worker_init_fn is not a function of this file")
    changes = Changes(script)
    for call in script.all(cst.Call, where[0]):
        if script.last(call) in ("seed", "manual_seed") and len(call.args) == 1:
            new = "torch.initial_seed()" if script.last(call) == "manual_seed" else "torch.initial_seed() % 2**32"
            changes.replace(call.args[0].value, expression(new))
    if not changes:
        raise Unsure("worker_init_fn does not seed by itself")
    return changes.import_module("torch")


#: How a generator of each kind is made anew from a seed.
_ANEW = {
    "numpy.random.default_rng": "{made}(info.seed)",
    "numpy.random.RandomState": "{made}(info.seed % 2**32)",
    "random.Random": "{made}(info.seed)",
    "torch.Generator": "{made}().manual_seed(info.seed)",
}


def seed_workers(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give the dataset's own generator a seed of its own in each worker."""
    built = [c for c in script.calls(line) if script.last(c) in {d.name.value for d in script.all(cst.ClassDef)}]
    assign = script.around(built[0], cst.Assign) if len(built) == 1 else None
    if assign is None or assign.value is not built[0]:
        raise Unsure("the line does not build a dataset of a class of this file")
    data = dotted(assign.targets[0].target)
    calls = [
        c
        for c in script.all(cst.Call)
        if script.last(c).endswith("DataLoader") and (a := argument(c, "dataset", 0)) is not None and data and dotted(a.value) == data
    ]
    classes = [c for c in script.all(cst.ClassDef) if c.name.value == script.last(built[0])]
    if len(calls) != 1 or len(classes) != 1:
        raise Unsure("it is not clear which loader reads the dataset")
    call = calls[0]
    if argument(call, "worker_init_fn", 10) is not None:
        raise Unsure("the loader has a worker_init_fn already")
    found: list[str] = []
    for held in script.all(cst.Assign, classes[0]):
        target, value = dotted(held.targets[0].target), held.value
        if target.startswith("self.") and isinstance(value, cst.Call) and script.full(value) in _ANEW:
            anew = _ANEW[script.full(value)].format(made=script.name(value))
            found.append(f"info.dataset.{target.removeprefix('self.')} = {anew}")
    if not found or "worker_init_fn" in script.bound(script.module):
        raise Unsure("the dataset holds no generator whose making is seen")
    place = [n for n in (script.statement_of(call), *script.ancestors(call)) if n in script.module.body][-1]
    body = "\n    ".join(["info = torch.utils.data.get_worker_info()", *found])
    function = statement(f"def worker_init_fn(worker_id):\n    {body}\n").with_changes(leading_lines=[])
    changes = Changes(script).import_module("torch").before(place, function)  # type: ignore[arg-type]
    return changes.rework(call, lambda c: keyword(c, "worker_init_fn", "worker_init_fn"))


def split_in_order(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Split a series at one place in time, not at random."""
    calls = [c for c in script.calls(line) if script.last(c) in ("random_split", "train_test_split")]
    if len(calls) != 1:
        raise Unsure("the line does not split the data")
    call = calls[0]
    if script.last(call) == "train_test_split":
        if argument(call, "stratify") is not None:
            raise Unsure("the split is stratified")
        return Changes(script).rework(call, lambda c: keyword(c, "shuffle", "False"))
    data, lengths = argument(call, "dataset", 0), argument(call, "lengths", 1)
    if data is None or lengths is None or not dotted(data.value) or not isinstance(lengths.value, (cst.List, cst.Tuple)):
        raise Unsure("the lengths of the parts are not written there")
    parts = [e.value for e in lengths.value.elements]
    if len(parts) != 2 or any(isinstance(p, cst.Float) for p in parts):
        raise Unsure("the data is not split into two parts of given lengths")
    name, first = script.code(data.value), script.code(parts[0])
    subset = "Subset" if "Subset" in script.imports else "torch.utils.data.Subset"
    new = expression(f"({subset}({name}, range({first})), {subset}({name}, range({first}, len({name}))))")
    changes = Changes(script).replace(call, new)
    return changes if subset == "Subset" else changes.import_module("torch")


def share_stream(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let each worker go through its own share of what an iterable dataset yields."""
    place = script.statement(line)
    function = script.function(place)
    if not isinstance(place, cst.For) or function is None or function.name.value != "__iter__" or script.around(place, cst.For) is not None:
        raise Unsure("the line is no loop over what the dataset yields")
    if "worker" in script.bound(function) or any(script.last(c) == "get_worker_info" for c in script.all(cst.Call, function)):
        raise Unsure("the dataset asks for its worker already")
    whole = script.code(place.iter)
    share = expression(f"({whole} if worker is None else itertools.islice({whole}, worker.id, None, worker.num_workers))")
    changes = Changes(script).before(place, "worker = torch.utils.data.get_worker_info()").replace(place.iter, share)
    return changes.import_module("itertools").import_module("torch")
