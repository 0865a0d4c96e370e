"""Comparisons with peers: turns over pipes, texts, ratios and the table; the peers themselves run in `make
bench-peers`.
"""

import dataclasses
import json
import sys
from typing import Any

import pytest

from benchmarks.peer_table import Result, equal_share, lines_of, phase_seconds, ratio_of
from benchmarks.peer_turns import InOrder, Request, peak_resident_bytes, read_request
from benchmarks.peers import COMPARISONS, Side, arguments, examples_of, join_examples, main, take_turns
from data.examples import Example
from data.prepare import Corpus
from grpo.runtime.device import peak_memory_bytes

SIDE = """
import json, sys
name, reads = sys.argv[1:]
print(json.dumps({"read": reads}), flush=True) if sys.stdin.readline() else None
for line in sys.stdin:
    with open(LOG, "a") as log: log.write(name)
    print(json.dumps({"seconds": 1.0} if line == "go\\n" else {"peak_bytes": 5}), flush=True)
"""


def command(log: str, name: str, reads: str) -> list[str]:
    return [sys.executable, "-c", SIDE.replace("LOG", repr(log)), name, reads]


def example(number: int, source: str = "a", others: tuple[str, ...] = ()) -> Example:
    return Example(str(number), source, "r", "o", "l", "bo", "zh", others=others)


def turn(seconds: float, **facts: Any) -> dict[str, Any]:
    return {"seconds": seconds, **facts}


def test_sides_alternate_and_the_last_answer_is_the_peak(tmp_path: Any) -> None:
    log = str(tmp_path / "log")
    answers = take_turns({"a": command(log, "a", "x"), "b": command(log, "b", "x")}, "{}", 3)
    assert (tmp_path / "log").read_text() == "ab" * 4
    assert answers["a"] == answers["b"] == [{"read": "x"}, *[{"seconds": 1.0}] * 3, {"peak_bytes": 5}]


def test_sides_that_read_different_tokens_are_not_compared(tmp_path: Any) -> None:
    log = str(tmp_path / "log")
    with pytest.raises(RuntimeError, match="a and b read different tokens"):
        take_turns({"a": command(log, "a", "x"), "b": command(log, "b", "y")}, "{}", 1)
    assert not (tmp_path / "log").exists()


def test_a_side_that_fails_says_why() -> None:
    with (
        Side([sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit('no such model')"]) as side,
        pytest.raises(RuntimeError, match=r"exit code 1:\nno such model"),
    ):
        side.ask("{}")


def test_a_request_survives_the_pipe() -> None:
    sent = Request("grpo", "configs/mt.toml", ("seed=3",), "folder", (example(1, others=("s",)),), 4, True, 8)
    line = json.dumps(dataclasses.asdict(sent))
    assert "\n" not in line and read_request(line) == sent
    assert read_request(line).settings().seed == 3


def test_batches_follow_each_other() -> None:
    assert [InOrder("abcdefg", 2).at(step) for step in (0, 2)] == ["ab", "ef"]


def test_peak_of_memory_is_what_the_kernel_counts() -> None:
    assert peak_resident_bytes() == pytest.approx(peak_memory_bytes(), rel=0.05)


def test_long_prompts_lie_within_their_limits_and_use_each_source_once() -> None:
    sizes = [4, 3, 5, 20, 9, 2, 30, 8, 1, 1]
    made = join_examples(
        [example(i, chr(97 + i) * size) for i, size in enumerate(sizes)], lambda e: len(e.source), (8, 12)
    )
    # c + d, f + g grow beyond 12: given up; i, j stay behind
    assert [e.source for e in made] == ["aaaa bbb", "eeeeeeeee", "hhhhhhhh"]
    assert [e.id for e in made] == ["1", "4", "7"]


def test_a_comparison_reads_its_own_part_of_the_corpus_again_where_it_is_short() -> None:
    corpus = Corpus((example(0),), (example(1), example(2)), (example(3),), (example(4), example(5)), {})

    def read(name: str, needed: int, size: int = 300) -> list[str]:
        return [e.id for e in examples_of(name, corpus, lambda e: size, needed)]

    assert read("mt", 3, size=30) == ["1", "2", "1"]
    assert read("headline", 2) == ["1", "2"]
    assert read("warm-start", 2) == ["0", "0"]
    assert read("decoding", 3) == ["3", "4", "5"]


def test_ratio_is_of_medians_and_the_range_is_of_turns() -> None:
    ratio = ratio_of([2.0, 1.0, 8.0], [10.0, 8.0, 8.0])
    assert (ratio.median, ratio.low, ratio.high) == (4.0, 1.0, 8.0)
    assert str(ratio) == "4.00x (1.00-8.00)"


def test_update_is_what_the_other_phases_leave() -> None:
    named = phase_seconds([turn(10.0, phases={"rollout": 3.0, "reward": 0.5, "score": 2.0, "step": 9.9})])
    assert named == {"rollout": [3.0], "reward": [0.5], "score": [2.0], "update": [4.5]}


def test_equal_outputs_are_counted_in_order() -> None:
    assert equal_share(["a", "b", "c", ""], ["a", "c", "b", ""]) == 0.5


def test_the_table_has_ratio_phases_memory_and_what_was_done() -> None:
    phases = {"rollout": 1.0, "reward": 0.0625, "score": 1.0}
    ours = [turn(4.0, phases=phases, length=32.0, reward=0.25)] * 2
    theirs = [turn(20.0, phases={**phases, "rollout": 10.0, "reward": 0.125}, length=32.0, reward=0.5)] * 2
    lines = lines_of(Result("mt", "TRL", "8 prompts", ours, theirs, 3_000_000_000, 6_000_000_000))
    assert lines[0] == "mt: ours beside TRL; 8 prompts; 2 turns each"
    assert lines[2].split() == ["whole", "turn", "4.000", "20.000", "5.00x", "(5.00-5.00)"]
    assert lines[3].split() == ["rollout", "1.000", "10.000", "10.00x", "(10.00-10.00)"]
    assert lines[6].split() == ["update", "1.938", "8.875", "4.58x", "(4.58-4.58)"]
    assert lines[7].split() == ["peak", "GB", "3.00", "6.00", "ours", "/", "TRL", "0.50"]
    assert lines[8:] == ["completion tokens 32 and 32", "mean reward       0.25 and 0.5"]


def test_decoding_says_how_many_outputs_are_equal() -> None:
    lines = lines_of(
        Result("d", "generate", "r", [turn(1.0, outputs=["a", "b"])], [turn(3.0, outputs=["a", "c"])], 1, 2)
    )
    assert lines[-1].split() == ["equal", "outputs", "50.0%", "of", "2"]


def test_tokens_a_second_are_those_of_both_sides_over_the_same_tokens() -> None:
    lines = lines_of(
        Result("w", "Trainer", "r", [turn(2.0, tokens=600, loss=1.5)], [turn(3.0, loss=1.5)], 1, 2)
    )
    assert lines[-2:] == [
        "loss              1.5 and 1.5",
        "tokens/s          300 and 200, padding not counted",
    ]


def test_an_unknown_comparison_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verl"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: unknown comparison 'verl'; known comparisons: {', '.join(COMPARISONS)}\n"
    )


def test_a_number_of_turns_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--steps", "0"])
    assert "0 is not between 1 and" in capsys.readouterr().err
