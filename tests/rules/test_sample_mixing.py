from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, CrossedLinks, Leaf, Mixing, Overwritten
from trainlint_rules.sample_mixing import SampleMixing

LINE = Location("model.py", 18)


def judge(batches=None, **facts):
    return SampleMixing().judge(Mixing(**({"samples": 32, "first_where": LINE} | facts)), batches or Batches())


def inputs(*shapes_and_types):
    leaves = tuple(Leaf(path=f"input {i}", role="input", kind="tensor", shape=s, dtype=t) for i, (s, t) in enumerate(shapes_and_types))
    return Batches(train=(BatchView(phase="train", leaves=(), inputs=leaves),))


def test_independent_samples_pass():
    assert judge(across_samples=False, future_tokens=False).kind == "pass"


@pytest.mark.parametrize(
    "operation", ["view", "aten._unsafe_view.default", "softmax", "scaled_dot_product_attention", "lstm", "aten::_softmax", "permute"]
)
def test_slips_that_mix_samples_are_errors(operation):
    verdict = judge(across_samples=True, share=0.8, operation=operation)
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert verdict.fix.code


def test_other_ways_to_mix_are_a_warning():
    assert judge(across_samples=True, share=0.03, operation="mean").severity is Severity.WARNING
    assert judge(across_samples=True, share=0.003, operation="mul").severity is Severity.NOTE, "a solver's step size"
    assert judge(across_samples=True, share=0.003, operation="view").severity is Severity.ERROR


def test_batch_norm_without_running_statistics_mixes_by_design():
    assert judge(across_samples=True, share=0.03, operation="batch_norm").kind == "pass"
    assert judge(across_samples=True, share=0.03, operation="aten.native_batch_norm.default").kind == "pass"


def test_contrastive_losses_compare_samples_by_design():
    assert judge(across_samples=True, share=0.9, operation="mm", contrastive=True).kind == "pass"


@pytest.mark.parametrize("link", [((32, 32), "float32"), ((2, 190), "int64")])
def test_nodes_of_a_graph_see_their_neighbours(link):
    assert judge(inputs(((32, 16), "float32"), link), across_samples=True, share=0.5, operation="transpose").kind == "pass"


def test_square_images_are_no_graph():
    images = inputs(((32, 3, 32, 32), "float32"))
    assert judge(images, across_samples=True, share=0.5, operation="view").severity is Severity.ERROR


def test_tiny_dependence_such_as_load_balancing_passes():
    assert judge(across_samples=True, share=2e-5, operation="mean").kind == "pass"


def test_seeing_the_next_token_is_an_error():
    verdict = judge(across_samples=False, future_tokens=True, future_share=0.4)
    assert verdict.severity is Severity.ERROR
    assert "causal mask" in verdict.fix.summary


def test_nothing_measured_is_not_a_pass():
    assert judge().kind == "not-run"


def test_errs_when_a_prediction_depends_on_the_place_in_the_batch():
    where = Location("net.py", 9)
    verdict = judge(across_samples=False, place_share=0.4, place_where=where, place_operation="add")
    assert (verdict.severity, verdict.location) == (Severity.ERROR, where)
    assert "place of its sample in the batch" in verdict.message
    assert judge(across_samples=False, place_share=0.0).kind == "pass"


def test_warns_when_reading_a_sample_changes_another():
    line = Location("data.py", 26)
    verdict = SampleMixing().judge(Mixing(overwritten=Overwritten(phase="train", sample=605, read=606, change=0.1, where=line)), Batches())
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "once sample 606 was read, sample 605 is another one, changed by 10%" in verdict.message
    assert verdict.fix.edit.kind == "not-in-place"


def test_edges_of_other_graphs_are_an_error() -> None:
    crossed = CrossedLinks(samples=8, wrong=6, path=".edge_index", where=Location("data.py", 12), counted=True)
    verdict = SampleMixing().judge(Mixing(crossed=crossed), Batches())
    assert (verdict.severity, verdict.location) == (Severity.ERROR, crossed.where)
    assert ".edge_index" in verdict.message
    assert SampleMixing().judge(Mixing(crossed=replace(crossed, wrong=0)), Batches()).kind == "pass"


@pytest.mark.parametrize(("operation", "code"), [("scaled_dot_product_attention", "tril()"), ("matmul", "triu(1)")])
def test_a_mask_the_wrong_way_round_is_told_from_one_that_is_missing(operation, code):
    verdict = judge(future_tokens=True, future_share=0.3, future_alone=True, operation=operation)
    assert "wrong way round" in verdict.message
    assert code in verdict.fix.code
    assert "wrong way round" not in judge(future_tokens=True, future_share=0.3, operation=operation).message


def test_predictions_in_another_order_than_their_targets_are_an_error():
    verdict = judge(across_samples=True, share=1.0, operation="getitem", answered=(3, 7))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "predicted for sample 3 is compared with the target of sample 7" in verdict.message
