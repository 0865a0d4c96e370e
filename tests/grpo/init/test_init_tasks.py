"""First configurations for tasks other than translation, and for a policy that was trained before."""

import random
from pathlib import Path

from command_line import outcome

from data.prompt import Prompt
from data.saved_prompt import save
from data.template import Wording
from grpo.config_file import load_config
from grpo.engine.model import load_tokenizer
from grpo.init.__main__ import main
from grpo.run import main as run

PAIRS = 40


def table() -> str:
    """Pairs of five random words a side."""
    draw = random.Random(0)
    sides = ("abcdefghijkl", "mnopqrstuvwxyz")
    rows = [
        [" ".join("".join(draw.choices(own, k=5)) for _ in range(5)) for own in sides] for _ in range(PAIRS)
    ]
    return "".join(f"{source}\t{target}\n" for source, target in rows)


def test_a_task_in_one_language_is_named_and_written(place: Path) -> None:
    """Past bug: questions and answers, both English, became a translation from English to English."""
    (place / "qa.tsv").write_text(table(), "utf-8")
    named = ["qa.tsv", "--model", "model", "--from", "en", "--to", "en"]
    code, said = outcome(main, named)
    assert code == 2 and not (place / "qa.toml").exists()
    assert said == (
        "error: init: source and reference texts are both in English; say what the reference texts are by --task translation, "
        "headline, summary, answer, free\n"
    )
    assert outcome(main, [*named, "--task", "answer"]) == (0, "")
    config = load_config("qa.toml")
    assert (config.data.task, config.prompt.template) == ("answer", "english")
    assert outcome(run, ["--config", "qa.toml", "--check"])[0] == 0
    assert outcome(main, [*named, "--task", "free", "--out", "free.toml"]) == (0, "")
    # "Question in English: " and "Answer in English:" are left out
    assert config.model.max_prompt_tokens - load_config("free.toml").model.max_prompt_tokens == 40


def test_a_policy_is_asked_as_it_was_trained(place: Path) -> None:
    """Past bug: the chat template beside a policy of a text, which is for servers, made it a chat."""
    (place / "en-sw.tsv").write_text(table(), "utf-8")
    save(
        Prompt.of(load_tokenizer(place / "model"), Wording("english")), [("en", "sw", "mt")], place / "model"
    )
    assert load_tokenizer(place / "model").chat_template
    assert outcome(main, ["en-sw.tsv", "--model", "model"]) == (0, "")
    assert load_config("en-sw.toml").prompt.template == "english"
