from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, Leaf, SharedBuffer
from trainlint.rule import Verdict
from trainlint_rules.input_degenerate import InputDegenerate

LOADER = Location("train.py", 14)


def image(**changes: object) -> Leaf:
    facts = {"path": "[0]", "role": "input", "kind": "image", "shape": (32, 1, 8, 8), "dtype": "float32", "maximum": 1.0, "std": 0.3}
    return Leaf(**{**facts, **changes})


def judge(leaf: Leaf, count: int = 3, classes: int = 10) -> Verdict:
    labels = Leaf(path="[1]", role="target", kind="labels", shape=(32,), dtype="int64", distinct=classes)
    return InputDegenerate().judge(Batches(train=(BatchView(phase="train", leaves=(leaf, labels), inputs=(leaf,), where=LOADER),) * count))


def test_passes_samples_that_differ():
    assert judge(image()).kind == "pass"


def test_errs_when_every_sample_is_blank():
    verdict = judge(image(constant_rows=32, repeated_rows=31, maximum=0.0, std=0.0))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "96 of 96" in verdict.message
    assert "0 everywhere" in verdict.message
    assert verdict.location == LOADER


def test_warns_when_half_the_samples_are_blank():
    assert judge(image(constant_rows=17)).severity is Severity.WARNING


def test_notes_a_tenth_of_blank_tiles():
    assert judge(image(constant_rows=4)).severity is Severity.NOTE


def test_a_few_blank_tiles_pass():
    assert judge(image(constant_rows=2)).kind == "pass"


def test_errs_when_each_batch_repeats_one_sample_under_different_labels():
    verdict = judge(image(repeated_rows=31))
    assert verdict.severity is Severity.ERROR
    assert "targets differ" in verdict.message


def test_warns_when_the_repeated_sample_keeps_its_label():
    assert judge(image(repeated_rows=31), classes=1).severity is Severity.WARNING


def test_repetitions_of_a_weighted_sampler_pass():
    assert judge(image(repeated_rows=13)).kind == "pass"


def test_samples_that_the_sampler_drew_twice_are_no_repetitions():
    leaf = image(repeated_rows=28)
    view = BatchView(phase="train", leaves=(leaf,), inputs=(leaf,), where=LOADER, drawn_again=28)
    assert InputDegenerate().judge(Batches(train=(view,) * 3)).kind == "pass"


def test_a_fixed_input_of_one_sample_passes():
    assert judge(image(shape=(1, 32, 64, 64))).kind == "pass"


def test_rows_of_a_narrow_table_repeat_by_nature():
    assert judge(image(kind="table", shape=(32, 3), repeated_rows=25, constant_rows=6)).kind == "not-run"


def test_notes_a_dead_colour_channel():
    verdict = judge(image(shape=(32, 4, 8, 8), channel_mean=(0.4, 0.5, 0.4, 1.0), channel_std=(0.2, 0.2, 0.2, 0.0)))
    assert verdict.severity is Severity.NOTE
    assert verdict.evidence["channels"] == [3]


def test_a_mask_as_large_as_the_tokens_is_not_the_data():
    mask = image(kind="ids", shape=(32, 64), minimum=1.0, constant_rows=32, repeated_rows=31)
    tokens = image(kind="ids", shape=(32, 64), maximum=500.0, distinct=90)
    view = BatchView(phase="train", leaves=(mask, tokens), inputs=(mask, tokens), where=LOADER)
    assert InputDegenerate().judge(Batches(train=(view,) * 3)).kind == "pass"


def test_warns_of_pixels_that_run_over_the_end_of_8_bits():
    cast = Location("data.py", 38)
    verdict = InputDegenerate().judge(Batches(wrapped=0.1, wrapped_where=cast))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, cast)


def test_one_array_stored_for_all_samples_is_an_error():
    shared = SharedBuffer(path="input 0", samples=64, batches=8, stored=311, attribute="obs", where=Location("env.py", 9))
    verdict = InputDegenerate().judge(Batches(shared=shared))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, shared.where)
    assert "311 times" in verdict.message
    assert "self.obs.copy()" in verdict.fix.code


def test_a_causal_mask_that_is_larger_than_its_tokens_is_not_what_repeats():
    tokens = Leaf(path="ids", role="input", kind="tokens", shape=(80, 40), dtype="int64", minimum=0, maximum=29, distinct=30)
    for mask in (
        Leaf(path="mask", role="input", kind="mask", shape=(80, 40, 40), dtype="bool", maximum=1.0, repeated_rows=79),
        Leaf(path="mask", role="input", kind="mask", shape=(80, 1, 40, 40), dtype="int64", maximum=1.0, repeated_rows=79),
    ):
        view = BatchView(phase="train", leaves=(tokens, mask), inputs=(tokens, mask), where=LOADER)
        assert InputDegenerate().judge(Batches(train=(view,) * 8)).kind == "pass"


def test_states_of_which_each_is_a_one_of_a_row_repeat_by_nature():
    states = image(kind="table", shape=(64, 36), distinct=2, minimum=0.0, maximum=1.0, mean=1 / 36, repeated_rows=40)
    assert judge(states, count=8).kind == "pass"
    assert judge(image(kind="table", shape=(64, 36), distinct=2, mean=0.5, repeated_rows=40), count=8).kind == "fail"


def test_the_first_token_of_all_texts_is_no_blank_sample():
    texts = image(kind="tokens", shape=(16, 32), dtype="int64", maximum=40.0, constant_rows=3)
    assert judge(texts, count=4).kind == "pass"
    assert judge(image(kind="tokens", shape=(16, 32), dtype="int64", constant_rows=10), count=4).kind == "fail"


def test_texts_of_hardly_anything_but_one_token_are_a_warning():
    facts = {"kind": "tokens", "shape": (16, 32), "dtype": "int64", "maximum": 40.0}
    verdict = judge(image(**facts, commonest=1.0, commonest_share=0.96), count=4)
    assert verdict.severity is Severity.WARNING
    assert "96% of all tokens" in verdict.message
    assert judge(image(**facts, commonest=0.0, commonest_share=0.96), count=4).kind == "pass"
    assert judge(image(**facts, commonest=1.0, commonest_share=0.6), count=4).kind == "pass"
