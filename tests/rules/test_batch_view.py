from __future__ import annotations

from trainlint.details import ImageGrid, Picture, Table
from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, Leaf
from trainlint_rules.batch_view import BatchView as Rule

LOADER = Location("train.py", 12)
GRID = ImageGrid(title="Training batch", pictures=(Picture(png="", caption="3"),))


def image(**changes: object) -> Leaf:
    facts = {
        "path": "[0]",
        "role": "input",
        "kind": "image",
        "shape": (32, 1, 28, 28),
        "dtype": "float32",
        "maximum": 1.0,
        "std": 0.3,
    }
    return Leaf(**{**facts, **changes})


def labels(**changes: object) -> Leaf:
    facts = {"path": "[1]", "role": "target", "kind": "labels", "shape": (32,), "dtype": "int64", "maximum": 9.0, "distinct": 10}
    return Leaf(**{**facts, **changes})


def view(*leaves: Leaf, phase: str = "train", pictures: ImageGrid | None = GRID) -> BatchView:
    inputs = tuple(leaf for leaf in leaves if leaf.role == "input")
    return BatchView(phase=phase, leaves=leaves, inputs=inputs, where=LOADER, pictures=pictures)


def test_passes_with_the_pictures_and_a_table_of_ranges():
    verdict = Rule().judge(Batches(train=(view(image(), labels()),), val=(view(image(), labels(), phase="val"),)))
    assert verdict.kind == "pass"
    assert GRID in verdict.details
    table = verdict.details[-1]
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [
        ("train", "[0]", "input"),
        ("train", "[1]", "target"),
        ("val", "[0]", "input"),
        ("val", "[1]", "target"),
    ]
    assert "32×1×28×28 image" in verdict.message


def test_shows_what_the_loop_made_of_an_input():
    batch = BatchView(phase="train", leaves=(image(dtype="uint8", maximum=255.0), labels()), inputs=(image(minimum=-2.1, maximum=2.6),))
    table = Rule().judge(Batches(train=(batch,))).details[-1]
    assert isinstance(table, Table)
    assert [row[6:8] for row in table.rows if row[1] == "[0]"] == [(0.0, 255.0), (-2.1, 2.6)]


def test_notes_targets_that_are_all_the_same():
    verdict = Rule().judge(Batches(train=(view(image(), labels(minimum=3.0, maximum=3.0, distinct=1)),) * 2))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.NOTE
    assert "64 targets" in verdict.message
    assert verdict.location == LOADER


def test_notes_another_kind_of_input_in_validation():
    flat = image(kind="table", shape=(32, 784))
    verdict = Rule().judge(Batches(train=(view(image(), labels()),), val=(view(flat, labels(), phase="val"),)))
    assert verdict.severity is Severity.NOTE
    assert "32×784 table" in verdict.message


def test_few_rare_positives_that_one_small_batch_lacks_are_no_oddity():
    assert Rule().judge(Batches(train=(view(image(shape=(16, 1, 28, 28)), labels(shape=(16,), maximum=0.0)),))).kind == "pass"


def test_many_targets_that_are_all_the_same_are_counted():
    targets = [labels(path=f"target {n}", kind="scalar", minimum=1.0, maximum=1.0) for n in range(5)]
    message = Rule().judge(Batches(train=(view(image(), *targets),) * 2)).message
    assert message == "All 64 targets in the 2 recorded training batches (target 0, target 1 and 3 more) are 1."


def test_labels_that_do_not_enter_the_loss_may_be_constant():
    assert Rule().judge(Batches(train=(view(image(), labels(role="other", maximum=0.0)),) * 4)).kind == "pass"


def test_other_picture_sizes_in_validation_are_fine():
    val = view(image(shape=(32, 1, 32, 32)), labels(), phase="val")
    assert Rule().judge(Batches(train=(view(image(), labels()),), val=(val,))).kind == "pass"


def test_says_so_when_nothing_was_recorded():
    assert Rule().judge(Batches()).kind == "not-run"


def test_what_has_not_entered_the_model_yet_is_no_other_kind_of_input():
    flat = image(kind="table", shape=(32, 784))
    trained = BatchView(phase="train", leaves=(image(), labels()), inputs=(flat,))
    unused = BatchView(phase="val", leaves=(image(), labels()))
    assert Rule().judge(Batches(train=(trained,), val=(unused,))).kind == "pass"


def test_a_part_of_what_a_loop_computes_its_target_from_may_stand_still():
    still, moving = labels(path="target 1", minimum=0.95, maximum=0.95, distinct=1), labels(path="target 2")
    assert Rule().judge(Batches(train=(view(image(), still, moving),) * 2)).kind == "pass"
    assert Rule().judge(Batches(train=(view(image(), still),) * 2)).kind == "fail"
