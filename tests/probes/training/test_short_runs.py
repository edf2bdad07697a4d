from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import fit, measured, record
from trainlint.measurements import ShortRuns
from trainlint.probes.run.optimizers import measure_optimizers
from trainlint.probes.training.batch_size import measure_batch_size
from trainlint.probes.training.learning_rate import measure_learning_rate
from trainlint.probes.training.short_runs import measure_short_runs
from trainlint.record.recording import Recording
from trainlint_rules.over_regularized import OverRegularized


def loader(size: int = 16) -> DataLoader:
    x = torch.randn(96, 10, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()), batch_size=size)


def network(drop: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(drop), nn.Linear(32, 3))


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def recorded(make, loss=cross_entropy, size: int = 16, **settings) -> Recording:
    def run() -> None:
        model = make()
        fit(model, loader(size), loss, torch.optim.Adam(model.parameters(), **{"lr": 1e-2, **settings}))

    return record(run)


def facts(make, **settings) -> ShortRuns:
    return measured(measure_short_runs, recorded(make, **settings))


def loaded(skip: str = "-") -> nn.Sequential:
    model, other = network(), network()
    model.load_state_dict({k: v for k, v in other.state_dict().items() if not k.startswith(skip)}, strict=False)
    return model


def test_weights_from_scratch_get_one_run():
    found = facts(network)
    assert [r.purpose for r in found.runs] == ["configured"]
    assert (found.pretrained, found.attention, found.regularisers) == (0.0, False, ())
    assert found.runs[0].clean[-1] < found.initial


def test_loaded_weights_are_told_one_by_one():
    found = facts(lambda: loaded(skip="3."))
    assert 0.7 < found.pretrained < 0.9
    assert found.run("gentle").moved < found.run("configured").moved


def test_a_head_that_is_replaced_is_fresh_and_groups_know_it():
    def run() -> None:
        model = loaded()
        model[3] = nn.Linear(32, 3)
        groups = [{"params": model[0].parameters(), "lr": 1e-3}, {"params": model[3].parameters(), "lr": 1e-2}]
        fit(model, loader(), cross_entropy, torch.optim.Adam(groups))

    body, head = measured(measure_optimizers, record(run)).optimizers[0].groups
    assert (body.pretrained_share, head.pretrained_share) == (1.0, 0.0)
    assert body.depth < head.depth
    assert head.names == ("3.weight", "3.bias")


def test_weights_that_the_same_script_trained_before_count():
    recording = recorded(network)
    recording.trained_before = {id(p) for p in recording.models()[0].parameters()}
    found = measured(measure_short_runs, recording)
    assert found.pretrained == 1.0
    assert "earlier" in found.pretrained_how


def test_a_resumed_optimizer_is_told():
    def run() -> None:
        model = loaded()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        state = {"step": torch.tensor(9.0), "exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(1)}
        state = {i: {k: v if k == "step" else torch.zeros_like(p) for k, v in state.items()} for i, p in enumerate(model.parameters())}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        fit(model, loader(), cross_entropy, optimizer)

    assert measured(measure_short_runs, record(run)).resumed


def test_regularisation_is_found_and_switched_off():
    def smoothed(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    found = measured(measure_short_runs, recorded(lambda: network(0.95), smoothed, weight_decay=0.01))
    assert {r.kind: r.strength for r in found.regularisers} == {"dropout": 0.95, "label smoothing": 0.1, "weight decay": 0.01}
    assert found.run("free").clean[-1] < found.run("configured").clean[-1]
    assert len(found.run("free").clean) == len(found.run("configured").clean)


def test_a_few_steps_without_mild_regularisation_settle_that_it_slows_nothing():
    found = facts(lambda: network(0.3))
    own, free = found.run("configured"), found.run("free")
    assert free is None or (len(free.losses) == len(own.losses) // 4 and min(free.clean) > own.clean[-1])
    assert OverRegularized().judge(found).kind == "pass"


def test_the_run_at_the_configured_rate_is_made_once_for_both_probes():
    recording = recorded(network)
    rates, runs = measured(measure_learning_rate, recording), measured(measure_short_runs, recording)
    own = next(t for t in rates.trials if t.lr == rates.configured)
    assert own.losses == runs.run("configured").losses


def test_runs_leave_nothing_behind_but_weights_that_the_session_restores():
    recording = recorded(network)
    parameter = next(recording.models()[0].parameters())
    gradient = parameter.grad
    measured(measure_short_runs, recording)
    assert parameter.grad is gradient


def test_norms_and_noise_are_measured():
    def normed():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    found = measured(measure_batch_size, recorded(normed, size=4))
    assert (found.batch_size, found.dataset_size) == (4, 96)
    assert [(n.samples, n.values) for n in found.norms] == [(4, 4)]
    assert found.noise_scale is not None
    assert 1 < found.noise_scale < 1000
