"""A file through a policy: as many lines out as in, the run's prompt and decoding, with the memory that there is."""

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_vectors import PlainEncoder
from policy_run import KINDS, NEW, sources, write, write_policy_run
from tiny_run import HAN, SYLLABLES
from transformers import PreTrainedTokenizerFast

from data.errors import InputError
from data.saved_prompt import example_of
from eval.metrics.significance import Array
from grpo.engine.draw import Sampling
from grpo.engine.greedy import DecodeSettings
from grpo.engine.likelihood import log_likelihoods
from grpo.engine.model import load_policy
from grpo.engine.sampler import generate
from grpo.translate import decoding, translator
from grpo.translate.__main__ import main
from grpo.translate.choice import cosine
from grpo.translate.decoding import Candidates, Decoding, candidates
from grpo.translate.policy import Policy, open_policy

pytestmark = pytest.mark.usefixtures("own_cache")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    return write_policy_run(tmp_path_factory.mktemp("translate") / "run", tiny_tokenizer)


@pytest.fixture
def policy(run: Path) -> Policy:
    return open_policy(run)


def alone(policy: Policy, text: str, kind: int = 0) -> str:
    """The greedy output of one line, without others beside it."""
    model = load_policy(policy.folder, CPU)
    prompt = policy.prompt.encode_prompt(example_of(KINDS[kind], text))
    decoding = Decoding(DecodeSettings(NEW, policy.prompt.stops, 1))
    ((_, own),) = candidates(model, policy.prompt, [prompt], [1], decoding)
    return own.texts[0]


def test_every_line_has_its_line_and_is_asked_as_in_training(
    run: Path, policy: Policy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = sources(5)
    content = [texts[0], "", texts[1], "  ", "x" * 80, texts[2], "\u2028".join(texts[3:]), texts[4]]
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(content).encode() + b"\r\n\xff\xfe\n" + texts[3].encode())
    out = tmp_path / "deep" / "out.txt"
    assert main([str(path), "--model", str(run), "--output", str(out), "--source-language", "dz"]) == 0
    lines = out.read_bytes().decode().split("\n")
    assert len(lines) == 11 and lines[-1] == ""
    for number, text in ((0, texts[0]), (2, texts[1]), (5, texts[2]), (7, texts[4]), (9, texts[3])):
        assert lines[number] == " ".join(alone(policy, text, 1).splitlines()) != ""
    assert [lines[number] for number in (1, 3, 4, 8)] == [""] * 4
    said = capsys.readouterr().err
    assert (
        "10 lines in, 10 lines out" in said
        and "4 of them left empty: 2 with an empty source (line 2), " in said
    )
    assert "1 longer than 60 tokens with the prompt (line 5), 1 not UTF-8 (line 9)" in said
    assert "dz to zh, greedy, on cpu" in said and "NOTE" not in said


def test_a_folder_alone_is_asked_by_the_default_settings(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: an exported policy left every line empty whose prompt had more than 96 tokens, a guess for bills."""
    folder = Path(shutil.copytree(run / "policy", tmp_path / "policy"))
    here = open_policy(folder)
    assert here.settings["eval.max_new_tokens"] == 256
    assert here.problem(here.example(SYLLABLES[0] * 60), here.settings["model.max_prompt_tokens"]) == ""
    (folder / "prompt.json").unlink()
    path = write(tmp_path / "in.txt", ["a"])
    assert main([str(path), "--model", str(folder)]) == 2
    assert "write --source-language and --target-language" in capsys.readouterr().err
    languages = ["--source-language", "en", "--target-language", "sw"]
    assert main([str(path), "--model", str(folder), *languages, "--max-new-tokens", "2"]) == 0
    assert "1 line, en to sw" in capsys.readouterr().err


def test_best_policy_of_a_run_comes_first(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert open_policy(folder).folder == folder / "policy"
    shutil.copytree(run / "policy", folder / "policy_best")
    assert open_policy(folder).folder == folder / "policy_best"
    assert open_policy(folder / "policy").run == folder.resolve()


def test_jsonl_with_a_nested_field_keeps_ids(run: Path, policy: Policy, tmp_path: Path) -> None:
    texts = sources(3)
    rows: list[Any] = [
        {"id": "one", "translation": {"bo": texts[0]}},
        {"translation": {"bo": texts[1]}},
        {"id": 7, "translation": {"zh": "x"}},
    ]
    path = write(tmp_path / "in.jsonl", [json.dumps(row) for row in rows])
    out = tmp_path / "out.jsonl"
    options = ["--model", str(run), "--output", str(out), "--field", "translation.bo"]
    assert main([str(path), *options]) == 0
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == ["one", "2", "7"]
    assert [row["output"] for row in found] == [alone(policy, texts[0]), alone(policy, texts[1]), ""]
    assert found[2]["problem"] == "no field 'translation.bo'" and found[0]["source"] == texts[0]


def test_standard_input_to_standard_output(
    run: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (text,) = sources(1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n\n".encode())))
    assert main(["--model", str(run)]) == 0
    printed = capsysbinary.readouterr()
    assert printed.out.decode() == " ".join(alone(policy, text).splitlines()) + "\n\n"
    assert b"NOTE: lines are read as bo; the policy also knows dz" in printed.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--best-of", "0"], "--best-of 0: a number from 1"),
        (["--choose-by", "logprob"], "--choose-by logprob: there is one output a line"),
        (["--max-new-tokens", "9999"], "--max-new-tokens 9999: the model has 1,024 positions"),
        (["--temperature", "0"], "--temperature 0.0: a number above 0"),
        (["--source-language", "en"], "was trained on bo to zh, dz to zh, not on en to any language"),
        (["--best-of", "2", "--choose-by", "cosine"], "lies in no run folder with encoder_fit.json"),
        (["--field", "text"], "no field 'text'; its first record has source"),
    ],
)
def test_mistakes_are_one_sentence(
    more: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "in.jsonl", ['{"source": "a"}'])
    assert main([str(path), "--model", str(run), *more]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_folders_without_a_policy_and_several_processes_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "in.txt", ["a"])
    (tmp_path / "young" / "warm_start").mkdir(parents=True)
    assert main([str(path), "--model", str(tmp_path / "young")]) == 2
    assert "this run has no policy yet" in capsys.readouterr().err
    assert main([str(path), "--model", str(tmp_path)]) == 2
    assert "no model there; give the folder of a finished run" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([str(path), "--model", str(run)]) == 2
    assert "runs in one process" in capsys.readouterr().err


def test_a_draw_is_a_function_of_seed_and_line(run: Path, tmp_path: Path) -> None:
    texts = sources(9)
    path = write(tmp_path / "in.txt", texts)
    other = write(tmp_path / "other.txt", [texts[0], "", *texts[2:]])

    def outputs(name: str, source: Path, *more: str) -> list[str]:
        out = tmp_path / name
        assert main([str(source), "--model", str(run), "--sample", "--output", str(out), *more]) == 0
        return out.read_text(encoding="utf-8").split("\n")

    first = outputs("a", path)
    assert first == outputs("b", path, "--batch-size", "7")
    assert first != outputs("c", path, "--seed", "1")
    changed = outputs("d", other)
    assert changed[1] == "" and first[:1] + first[2:] == changed[:1] + changed[2:]
    twice = outputs("e", write(tmp_path / "twice.txt", [texts[0]] * 8))
    assert len(set(twice)) > 2


def test_logprob_is_the_mean_over_the_tokens_that_were_written(policy: Policy) -> None:
    model = load_policy(policy.folder, CPU)
    prompts = [policy.prompt.encode_prompt(policy.example(text)) for text in sources(3)]
    decoding = Decoding(DecodeSettings(NEW, policy.prompt.stops, 4), temperature=1.0, samples=3, seed=5)
    sampled: dict[int, Candidates] = dict(candidates(model, policy.prompt, prompts, [4, 5, 6], decoding))
    sampling = Sampling(3, NEW, 1.0, policy.prompt.stops)
    for place, own in sampled.items():
        rollout = generate(model, [prompts[place]], sampling, (5,), [4 + place])
        rows = [list(ids) for ids in rollout.completions()]
        assert own.texts == [policy.prompt.decode_completion(ids) for ids in rows]
        (sums,) = log_likelihoods(model, [prompts[place]], [rows])
        means: Array = torch.tensor(sums).numpy() / [len(ids) for ids in rows]
        assert own.logps == pytest.approx(list(means), abs=1e-5)


def known_vectors(texts: Sequence[str]) -> torch.Tensor:
    """Vectors of two known texts, and of all others."""
    known = {HAN[:3]: [0.6, 0.8], HAN[0] * 4: [0.8, 0.6]}
    return torch.tensor([known.get(text, [1.0, 0.0]) for text in texts])


def test_cosine_does_not_choose_a_copy_of_the_source(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    monkeypatch.setattr("grpo.translate.choice.load_encoder", lambda *_: PlainEncoder(known_vectors))
    fit = folder / "encoder_fit.json"
    fit.write_text('{"pair_auc": 0.85}', encoding="utf-8")
    with pytest.raises(InputError, match=r"use does not read both languages: .* AUC 0\.85, and"):
        cosine(open_policy(folder), tmp_path, CPU)
    fit.write_text('{"pair_auc": 0.899}', encoding="utf-8")
    with pytest.raises(InputError, match=r"AUC 0\.89, and"):  # past bug: "AUC 0.90, and 0.9 is needed"
        cosine(open_policy(folder), tmp_path, CPU)
    fit.write_text("{}", encoding="utf-8")  # past bug: a traceback
    with pytest.raises(InputError, match=r"encoder_fit\.json: pair_auc = None is no number"):
        cosine(open_policy(folder), tmp_path, CPU)
    fit.write_text('{"pair_auc": 0.95}', encoding="utf-8")
    source = SYLLABLES[1] * 3
    term = cosine(open_policy(folder), tmp_path, CPU)
    scores = term([source], [Candidates([source, HAN[:3], HAN[0] * 4], [0.0] * 3, [False] * 3)])
    # the copy has the cosine 1 and the wrong script; of four equal units one is free
    assert scores.tolist() == pytest.approx([0.0, 0.6, 0.8 / 4], abs=1e-6)


def test_a_card_without_memory_gets_half_the_batch_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.txt", sources(9))
    command = [str(source), "--model", str(run), "--batch-size", "4", "--output"]
    assert main([*command, str(tmp_path / "whole.txt")]) == 0
    real = translator.candidates
    sizes = []

    def short(*arguments: Any) -> Any:
        sizes.append(arguments[4].settings.batch_size)
        if sizes[-1] > most:
            yield next(iter(real(*arguments)))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        yield from real(*arguments)

    monkeypatch.setattr(translator, "candidates", short)
    most = 2
    capsys.readouterr()
    assert main([*command, str(tmp_path / "half.txt")]) == 0
    assert (tmp_path / "half.txt").read_bytes() == (tmp_path / "whole.txt").read_bytes()
    assert (
        sizes == [4, 2]
        and capsys.readouterr().err.count("no memory for --batch-size 4, so it goes on with 2") == 1
    )
    most = 1
    assert main([*command, str(tmp_path / "none.txt")]) == 2
    assert "no memory for batches of 2 either; write --batch-size 1" in capsys.readouterr().err


@pytest.mark.parametrize(("has_graph", "sizes"), [(False, [2, 1, 1, 1]), (True, [9, 8, 1])])
def test_samples_without_memory_are_those_of_a_larger_batch(
    has_graph: bool,
    sizes: list[int],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two samples of each of nine lines: with batches of four rows, and where the decoder keeps slots full, with eight
    batches at once.
    """
    batch = "2" if has_graph else "4"
    source = write(tmp_path / "in.txt", sources(9))
    command = [str(source), "--model", str(run), "--best-of", "2", "--batch-size", batch, "--output"]
    assert main([*command, str(tmp_path / "whole.txt")]) == 0
    monkeypatch.setattr(decoding, "uses_graph", lambda _: has_graph)
    real = decoding.generate
    calls: list[int] = []

    def short(model: Any, prompts: Any, *rest: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, prompts, *rest)

    monkeypatch.setattr(decoding, "generate", short)
    capsys.readouterr()
    assert main([*command, str(tmp_path / "half.txt")]) == 0
    assert calls[: len(sizes)] == sizes and sum(calls[1:]) == 9
    assert (tmp_path / "half.txt").read_bytes() == (tmp_path / "whole.txt").read_bytes()
    assert (
        f"no memory for --batch-size {batch}, so it goes on with {int(batch) // 2}" in capsys.readouterr().err
    )
