"""The judge against a real server process, and against a small model: habits, patience, secrets, going on
after a stop.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from invented_outputs import two_files
from repository import SUPPORT

from data.errors import InputError
from eval.judge import checked_url, compare, main, margin
from eval.preference.answers import open_answers, request_key
from eval.preference.endpoint import TRIES, Endpoint
from eval.preference.local_model import LocalModel

SERVER = SUPPORT / "judge_server.py"
BAD = ["bad text number five"] * 6
GOOD = ["good"] * 5 + ["bad text number five"]


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    children: list[subprocess.Popen] = []

    def start(taste: str, troubles: str = "") -> Server:
        log = tmp_path / f"log-{len(children)}"
        child = subprocess.Popen(
            [sys.executable, str(SERVER), taste, str(log), troubles], stdout=subprocess.PIPE, text=True
        )
        children.append(child)
        return Server(f"http://127.0.0.1:{int(child.stdout.readline())}/v1", log)

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def command(folder: Path, judge: str, *more: str) -> list[str]:
    before, after = two_files(folder, BAD, GOOD)
    return [
        "--before",
        str(before),
        "--after",
        str(after),
        "--judge",
        judge,
        "--out",
        str(folder / "judge.json"),
        *more,
    ]


def result_of(folder: Path) -> dict:
    return json.loads((folder / "judge.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("taste", ["first", "tie", "chatter", "refusal"])
def test_a_constant_judge_gives_nothing_but_ties(
    taste: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(taste)
    assert main(command(tmp_path, f"openai:{server.url}#m")) == 0
    result = result_of(tmp_path)
    assert (result["win"], result["tie"], result["loss"], result["n"]) == (0.0, 1.0, 0.0, 6)
    assert result["first_chosen"]["share"] == (1.0 if taste == "first" else None)
    assert (result["answers"], result["unparsable"]) == (10, 10 if taste in ("chatter", "refusal") else 0)


def test_judge_with_an_opinion_is_followed_and_one_that_counts_letters_is_found(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    for taste, win, loss, longer in (("good", 5 / 6, 0.0, 0.0), ("longer", 0.0, 5 / 6, 1.0)):
        server = serve(taste)
        assert main(command(tmp_path, f"openai:{server.url}#m")) == 0
        result = result_of(tmp_path)
        assert (result["win"], result["loss"], result["tie"]) == (win, loss, pytest.approx(1 / 6))
        assert result["longer_preferred"]["share"] == longer and result["first_chosen"]["share"] == 0.5
        assert (result["before"], result["after"], result["judge"]) == (
            "warm_start",
            "grpo",
            f"openai:{server.url}#m",
        )
        assert (
            result["identical"] == 1
            and "<text1>{first}</text1>" in result["judge_settings"]["prompt"]
            and result["orders"] == 2
        )


def test_request_is_a_chat_completion_at_temperature_0_with_the_key_and_the_key_is_nowhere_else(
    serve: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_JUDGE_KEY", "sk-very-secret")
    server = serve("good")
    assert main(command(tmp_path, f"openai:{server.url}/#m", "--key-variable", "MY_JUDGE_KEY")) == 0
    first = server.requests()[0]
    assert first["path"] == "/v1/chat/completions" and first["key"] == "Bearer sk-very-secret"
    assert (
        first["body"]["temperature"] == 0
        and first["body"]["model"] == "m"
        and len(first["body"]["messages"]) == 1
    )
    refusing = serve("good", "401")
    assert main(command(tmp_path, f"openai:{refusing.url}#m", "--key-variable", "MY_JUDGE_KEY")) == 2
    said = capsys.readouterr()
    assert "HTTP 401" in said.err and "[key]" in said.err and said.err.count("\n") == 1
    lines = said.out + said.err + "".join(path.read_text() for path in tmp_path.glob("judge*"))
    assert "secret" not in lines


def test_every_passing_trouble_is_waited_out(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("good", "429,500,503,malformed,hollow,ok,drop,slow,number")
    endpoint = Endpoint(server.url, "m", timeout=0.5, pause=0.001)
    with open_answers(tmp_path / "a.jsonl") as answers:
        result = compare(*two_files(tmp_path, BAD, GOOD), endpoint, answers, 100, 0, print)
    assert result["counts"] == {"win": 5, "tie": 1, "loss": 0} and len(server.requests()) == 10 + 8


@pytest.mark.parametrize("trouble", ["429", "500", "malformed"])
def test_trouble_that_lasts_ends_in_one_sentence_and_what_was_answered_is_kept(
    trouble: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("good", ",".join(["ok"] * 3 + [trouble] * TRIES))
    endpoint = Endpoint(server.url, "m", pause=0.001)
    files = two_files(tmp_path, BAD, GOOD)
    with (
        pytest.raises(InputError, match=f"no answer in {TRIES} tries .*same command"),
        open_answers(tmp_path / "a.jsonl") as answers,
    ):
        compare(*files, endpoint, answers, 100, 0, print)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3
    with open_answers(tmp_path / "a.jsonl") as answers:
        assert compare(*files, endpoint, answers, 100, 0, print)["counts"]["win"] == 5
        assert answers.num_new == 7
    with open_answers(tmp_path / "a.jsonl") as answers:
        compare(*files, endpoint, answers, 100, 0, print)
        assert answers.num_new == 0 and len(server.requests()) == 10 + TRIES


@pytest.mark.parametrize("status", ["302", "400", "404"])
def test_what_no_patience_mends_is_said_at_once(status: str, serve: Callable[..., Server]) -> None:
    server = serve("good", status)
    with pytest.raises(InputError, match=f"HTTP {status}"):
        Endpoint(server.url, "m", key="secret").ask("<text1>good</text1><text2>bad</text2>")
    assert len(server.requests()) == 1


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"no answer in 6 tries \(.*refused"):
        Endpoint("http://127.0.0.1:9", "m", pause=0.0).ask("x")


def fixed_judge(name: str = "judge") -> Endpoint:
    return Endpoint(f"http://{name}", "m")


def test_half_a_line_of_a_killed_process_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"key": request_key(fixed_judge(), "q"), "reply": "1"}) + '\n{"key": "ab')
    with open_answers(path) as answers:
        assert answers.get(fixed_judge(), "q") == {"reply": "1"} and answers.num_new == 0
        with pytest.raises(InputError, match="another process is writing"), open_answers(path):
            pass
    assert path.read_text().count("\n") == 1 and path.read_text().endswith("\n")
    path.write_text(path.read_text() + '{"key": 1}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: an answer needs"), open_answers(path):
        pass


def test_answers_go_by_judge_settings_and_question() -> None:
    keys = {
        request_key(judge, text)
        for judge in (fixed_judge(), fixed_judge("other"), Endpoint("http://judge", "m", max_tokens=3))
        for text in "qr"
    }
    assert len(keys) == 6 and request_key(
        Endpoint("http://judge", "m", key="k", timeout=9), "q"
    ) == request_key(fixed_judge(), "q")


@pytest.mark.parametrize(
    ("judge", "more", "message"),
    [
        ("gpt", [], "write openai:URL#MODEL"),
        ("openai:http://h/v1", [], "write openai:URL#MODEL"),
        ("openai:ftp://h#m", [], "not an address"),
        ("openai:http://h:x/v1#m", [], "not an address"),
        ("openai:http://u:p@h/v1#m", [], "--key-variable"),
        ("openai:http://h/v1?key=k#m", [], "--key-variable"),
        ("openai:http://h..h/v1#m", [], "correct the name of the host"),
        ("openai:http://h/v1#m", ["--key-variable", "NO_SUCH_VARIABLE"], "holds no key"),
        ("openai:http://h/v1#m", ["--timeout", "0"], "above 0"),
        ("openai:http://h/v1#m", ["--n", "0"], "--n 0"),
        ("openai:http://h/v1#m", ["--out", ""], "--out"),
        ("openai:http://h/v1#m", ["--out", "."], "--out"),
        ("openai:http://h/v1#m", ["--out", "a\0b"], "--out"),
        ("openai:http://h/v1#m", ["--before", "/nowhere.json"], "/nowhere.json"),
        ("local:/nowhere", [], "no such folder"),
        ("local:", [], "write openai:URL#MODEL"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    judge: str, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, judge, *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and message in said and "u:p" not in said


def test_address_loses_its_last_slash() -> None:
    assert checked_url("http://[::1]:8000/v1/") == "http://[::1]:8000/v1"


def test_key_that_is_no_header_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_JUDGE_KEY", "top\nsecret")
    assert main(command(tmp_path, "openai:http://127.0.0.1:9/v1#m", "--key-variable", "MY_JUDGE_KEY")) == 2
    assert "secret" not in capsys.readouterr().err and os.environ["MY_JUDGE_KEY"]


def test_local_model_answers_with_its_likeliest_sign(
    tiny_folder: Path, tmp_path: Path, tiny_model, tiny_tokenizer
) -> None:
    """The scores are those of a plain forward pass over question and sign."""
    judge = LocalModel(tiny_folder, torch.device("cpu"))
    reply = judge.ask("which?")
    context = [tiny_tokenizer.bos_token_id, *tiny_tokenizer.encode("which?", add_special_tokens=False)]
    for sign, score in zip("12=", reply["scores"], strict=True):
        ids = [*context, *tiny_tokenizer.encode(f" {sign}", add_special_tokens=False)]
        with torch.no_grad():
            logps = tiny_model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert score == pytest.approx(
            sum(logps[place - 1, ids[place]].item() for place in range(len(context), len(ids))), abs=1e-4
        )
    assert reply["reply"] == "12="[reply["scores"].index(max(reply["scores"]))]
    with pytest.raises(InputError, match="its context only 1024"):
        judge.ask("x" * 1100)


def test_margin_is_free_of_a_liking_for_a_position() -> None:
    """log p: after is liked by 0.6 nats, the first place by 5 and by 100: the same margin."""
    for liking in (0.0, 5.0, 100.0):
        scores = [[[liking - 1.3, -0.7, -9.0], [liking - 0.7, -1.3, -9.0]]] * 4
        found = margin(scores, seed=0)
        assert found is not None and found["mean"] == pytest.approx(0.6) and found["n"] == 4
    assert margin([], seed=0) is None


def test_local_judge_goes_on_from_its_answers(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpo.runtime.device.configure", lambda compute: None)
    argv = command(tmp_path, f"local:{tiny_folder}", "--n", "3")
    assert main(argv) == 0
    first = result_of(tmp_path)
    assert (
        first["n"] == 3
        and first["margin"]["n"] == first["answers"] / 2
        and len(first["judge_settings"]["model_sha256"]) == 64
    )
    monkeypatch.setattr(LocalModel, "ask", None)
    assert main(argv) == 0 and result_of(tmp_path) == first


def test_answers_of_a_comparison_serve_its_inverse(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Both orders are asked anyway, so A against B costs nothing after B against A, and comes out as its
    mirror: 2 x 5 answers in all.
    """
    endpoint = Endpoint(serve("good").url, "m")
    files = two_files(tmp_path, BAD, GOOD)
    with open_answers(tmp_path / "a.jsonl") as answers:
        forward, backward = (compare(*pair, endpoint, answers, 9, 0, print) for pair in (files, files[::-1]))
        assert answers.num_new == 10
    assert (forward["win"], forward["loss"]) == (backward["loss"], backward["win"])
