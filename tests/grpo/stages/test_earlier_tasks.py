"""An anchor on the tasks of earlier runs: which pairs it has, in which words, and that it keeps them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from run_object import run_in
from tiny import change
from tiny_run import Command, general_text
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from data.errors import InputError
from data.saved_prompt import load
from grpo.config_file import load_config
from grpo.engine.model import load_tokenizer
from grpo.run import main
from grpo.stages.anchor_setup import anchor_ids
from grpo.stages.context import Run, corpus_of
from grpo.stages.earlier_tasks import earlier_runs, earlier_tasks, texts_of_tasks

SETTINGS = ["sft.optim.lr=1e-2", "sft.num_steps=10", "train.num_steps=1", "train.optim.lr=1e-4"]
KEEP = ["anchor.sft=4.0", "anchor.batch_size=8", "anchor.sources={earlier_tasks=1}"]
Go = Callable[..., Path]


@pytest.fixture
def go(command: Command, tmp_path: Path, own_cache: None) -> Go:
    """Run the stages data, sft and train into tmp_path/NAME/run: the run folder."""

    def run(name: str, *settings: str) -> Path:
        text = general_text(tmp_path, ["The river rose in the night."])
        assert main(command(name, text, *SETTINGS, *settings)) == 0
        return tmp_path / name / "run"

    return run


def after(folder: Path, cache: Path, *settings: str) -> Run:
    """A run that begins from the policy of one in a folder."""
    config = load_config(folder.parent / "tiny.toml", [f"model.policy={folder}/policy", *settings])
    return run_in(cache, config)


def likelihood(model: Path, prompts: Sequence[tuple[list[int], list[int]]]) -> float:
    """Mean log-probability of a completion token."""
    policy = AutoModelForCausalLM.from_pretrained(model).double()
    total, count = 0.0, 0
    for prompt, completion in prompts:
        with torch.no_grad():
            logps = policy(input_ids=torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        rows = logps[len(prompt) - 1 : -1]
        total += float(rows.gather(1, torch.tensor(completion)[:, None]).sum())
        count += len(completion)
    return total / count


def test_a_second_task_leaves_the_first_where_the_anchor_has_its_pairs(
    go: Go, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    first = go("first")
    start = f"model.policy={first}/policy"
    free, kept = go("free", start, "data.reverse=true"), go("kept", start, "data.reverse=true", *KEEP)
    prompt = load(first / "policy", tiny_tokenizer)
    pairs = [prompt.encode_pair(one) for one in corpus_of(after(first, tmp_path)).dev]
    before, lost, left = (likelihood(run / "policy", pairs) for run in (first, free, kept))
    assert lost < before - 0.5 and left > before - (before - lost) / 2


def test_tasks_are_those_of_the_chain_of_policies_with_no_item_of_a_test(
    go: Go, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    first = go("first")
    second = go("second", f"model.policy={first}/policy", "data.reverse=true")
    third = after(second, tmp_path)
    latest, oldest = earlier_tasks(third)
    assert [latest.run, oldest.run] == [second, first]
    assert {one.source for one in oldest.pairs}.isdisjoint(one.source for one in corpus_of(third).test)
    texts = texts_of_tasks(third, tiny_tokenizer, 8)
    assert texts == texts_of_tasks(third, tiny_tokenizer, 8) and len(texts) == 8
    for task, own in ((latest, texts[:4]), (oldest, texts[4:])):
        prompt = load(task.policy, tiny_tokenizer)
        possible = [asked[1:] + answer for asked, answer in map(prompt.encode_pair, task.pairs)]
        assert tiny_tokenizer.bos_token_id == prompt.encode_pair(task.pairs[0])[0][0]
        assert all(one in possible for one in own) and len(possible) > 100


def test_a_chat_is_asked_in_its_own_template_whatever_the_next_run_writes(
    go: Go, tmp_path: Path, tiny_folder: Path
) -> None:
    """Past bug: after a warm start in a plain prompt, whose policy has a template of its own, the anchor asked the earlier
    chat without its system text.
    """
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[a]"
    )
    tokenizer.save_pretrained(model)
    first = go("first", f"model.policy={model}", "prompt.template=chat", "prompt.system=Be brief.")
    second = go("second", f"model.policy={first}/policy", "data.reverse=true")
    own, later = load_tokenizer(first / "policy"), load_tokenizer(second / "warm_start")
    assert own.chat_template != later.chat_template
    texts = texts_of_tasks(after(first, tmp_path), own, 5)
    assert all(own.decode(text).startswith("[system]Be brief.[user]") for text in texts) and len(texts) == 5
    assert texts_of_tasks(after(first, tmp_path), later, 5) == texts
    assert later.chat_template == load_tokenizer(second / "warm_start").chat_template


def test_shares_are_those_of_the_mixture(
    go: Go, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    first = go("first")
    general = general_text(tmp_path, [f"line {number}" for number in range(60)]).removeprefix("tax.text=")
    mixture = f'anchor.sources={{"{general}"=1, earlier_tasks=3}}'
    ids = anchor_ids(after(first, tmp_path, mixture, "anchor.texts=40"), tiny_tokenizer)
    texts = texts_of_tasks(after(first, tmp_path), tiny_tokenizer, 30)
    assert len(ids) == 40 and ids[10:] == texts
    many = texts_of_tasks(after(first, tmp_path), tiny_tokenizer, 300)  # of 144 pairs
    assert many[:144] == many[144:288] and len(many) == 300 and many[:30] == texts


def test_a_model_of_no_run_has_no_earlier_tasks(
    corpus: Path,
    tmp_path: Path,
    tiny_folder: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "c.toml").write_text(f'[model]\npolicy = "{tiny_folder}"\n', encoding="utf-8")
    run = run_in(tmp_path, load_config(tmp_path / "c.toml", ["anchor.sources={earlier_tasks=1}"]))
    assert earlier_tasks(run) == []
    with pytest.raises(InputError, match=r"anchor\.sources has no text to learn from; add news=1 to it"):
        anchor_ids(run, tiny_tokenizer)
    assert "earlier_tasks: none, as model.policy is the policy of no run" in capsys.readouterr().out


def test_pairs_that_have_changed_are_refused(go: Go, tmp_path: Path, corpus: Path) -> None:
    first = go("first")
    facts = json.loads((first / "corpus.json").read_text(encoding="utf-8"))
    facts["manifest"]["splits"]["train"]["sha256"] = "0" * 64
    (first / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"earlier_tasks: the pairs of .*first/run cannot be had again: .*has changed"
    ):
        earlier_tasks(after(first, tmp_path))


def test_relative_paths_count_from_where_the_earlier_run_was_started(
    command: Command, tmp_path: Path, corpus: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: they counted from where the next run was started, and the sentence did not say so."""
    shutil.copy(corpus, tmp_path)
    monkeypatch.chdir(tmp_path)
    own = ["run_dir=first/run", f"data.corpus={corpus.name}", *SETTINGS]
    text = general_text(tmp_path, ["The river rose in the night."])
    assert main(command("first", text, *own)) == 0
    then = [
        "run_dir=second/run",
        "model.policy=first/run/policy",
        "data.reverse=true",
        f"data.corpus={corpus}",
        *SETTINGS,
    ]
    assert main(command("second", text, *then)) == 0
    third = after(tmp_path / "second" / "run", tmp_path)
    monkeypatch.chdir(tmp_path / "first")
    assert [len(task.pairs) for task in earlier_tasks(third)] == [144, 144]
    assert Path.cwd() == tmp_path / "first"
    (tmp_path / corpus.name).unlink()
    with pytest.raises(InputError, match=f"is not a file.*relative paths count from {tmp_path}$"):
        earlier_tasks(third)
    change(tmp_path / "first" / "run" / "config.json", run_dir=str(tmp_path / "first" / "run"))
    with pytest.raises(InputError, match=f"is not a file.*relative paths count from {tmp_path / 'first'}$"):
        earlier_tasks(third)


def test_a_chain_that_is_broken_is_refused(go: Go, tmp_path: Path) -> None:
    """Past bug: the tasks before a run that was moved, or whose path counts from another folder, were left out without a
    word; and a run in the place of its own model was followed for ever.
    """
    first = go("first")
    second = go("second", f"model.policy={first}/policy", "data.reverse=true")
    third = after(second, tmp_path)
    assert [one.folder for _, one in earlier_runs(third)] == [second, first]
    moved = first.rename(first.parent / "moved")
    with pytest.raises(
        InputError, match=r"second/run began from .*first/run/policy, which is not there; put it back"
    ):
        earlier_runs(third)
    (first / "policy").mkdir(parents=True)  # as the sentence says
    assert [one.folder for _, one in earlier_runs(third)] == [second]
    (first / "policy").rmdir()
    first.rmdir()
    second.rename(first)
    with pytest.raises(InputError, match=r"first/run began from .*first/run/policy, where it is itself now"):
        earlier_runs(after(first, tmp_path))
    assert earlier_runs(after(moved, tmp_path))[0][1].folder == moved  # its own model is no run's


def test_check_opens_the_pairs_of_earlier_runs(
    go: Go, tmp_path: Path, corpus: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.tsv"
    own.write_bytes(corpus.read_bytes())
    first = go("first", f"data.corpus={own}")
    argv = [*command("next", *KEEP, f"model.policy={first}/policy", general_text(tmp_path, ["a"])), "--check"]
    assert main(argv) == 0
    own.unlink()
    assert main(argv) == 2
    assert "earlier_tasks: the pairs of" in capsys.readouterr().err
    assert main([*argv, "anchor.sft=0"]) == 0
