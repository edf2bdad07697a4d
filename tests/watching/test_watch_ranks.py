from __future__ import annotations

from pathlib import Path

import torch

from trainlint.measurements import RankFacts
from trainlint.watching.ranks import Place, alone, fingerprint_due, gather, input_digest, leave_word, this_place, wait_for_all

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}


def test_the_place_comes_from_the_launcher() -> None:
    assert this_place({}) == Place(0, 1, "")
    assert (this_place(LAUNCHED).rank, this_place(LAUNCHED).world) == (1, 2)
    assert this_place({**LAUNCHED, "RANK": "one"}) == Place(0, 1, "")


def test_a_process_alone_is_the_whole_world_at_another_port() -> None:
    found = alone(LAUNCHED)
    assert this_place(found) == Place(0, 1, "")
    assert found["MASTER_PORT"] != "29500"
    assert "TORCHELASTIC_RUN_ID" not in found


def test_words_of_an_earlier_run_are_not_taken_for_this_one(tmp_path: Path) -> None:
    leave_word(tmp_path, Place(0, 2, "now"), RankFacts(rank=0, status="ended"))
    leave_word(tmp_path, Place(1, 2, "before"), RankFacts(rank=1, status="ended"))
    assert [f.rank for f in gather(tmp_path, Place(0, 2, "now")).ranks] == [0]
    leave_word(tmp_path, Place(1, 2, "now"), RankFacts(rank=1, status="ended"))
    assert len(wait_for_all(tmp_path, Place(0, 2, "now"), seconds=60).ranks) == 2


def test_a_damaged_word_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rank-0.json").write_text('{"job": "now", "facts": {"rank": "no')
    assert gather(tmp_path, Place(0, 1, "now")).ranks == ()


def test_digests_tell_values_and_types_apart() -> None:
    x = torch.arange(6.0)
    assert input_digest([x]) == input_digest([x.clone()])
    assert len({input_digest([t]) for t in (x, x + 1, x.double(), x.reshape(2, 3), x.bfloat16(), x > 2)}) == 6
    assert input_digest([]) == ""


def test_fingerprints_are_taken_at_the_same_steps_everywhere() -> None:
    assert [s for s in range(40) if fingerprint_due(s)] == [0, 1, 2, 3, 4, 8, 16, 32]
