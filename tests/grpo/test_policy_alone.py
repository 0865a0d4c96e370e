"""A policy outside of its run, as after an export or a download: lines are normalised as the texts of its training."""

import json
from pathlib import Path

import pytest
from tiny import tiny_gemma
from transformers import PreTrainedTokenizerFast

from data.normalise import DEFAULT, LINE_ENDS
from data.prompt import Prompt
from data.prompt_record import FILE
from data.saved_prompt import save
from data.template import Wording
from grpo.translate.policy import open_policy

KIND = ("fa", "en", "mt")
ARABIC_KE = "\u0643"  # which `persian_letters` makes the Persian one
PERSIAN_KE = "\u06a9"


@pytest.mark.parametrize("lines", ["one", "many"])
def test_lines_are_normalised_by_the_steps_of_the_run(
    lines: str, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_gemma().save_pretrained(tmp_path)
    prompt = Prompt.of(tiny_tokenizer, Wording(lines=lines))
    save(prompt, [KIND], tmp_path, ("persian_letters",))
    assert open_policy(tmp_path).example(ARABIC_KE).source == PERSIAN_KE
    default = [*DEFAULT, *([LINE_ENDS] if lines == "many" else [])]
    save(prompt, [KIND], tmp_path)
    record = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert record["normalise"] == default
    assert open_policy(tmp_path).example(ARABIC_KE).source == ARABIC_KE
    del record["normalise"]  # as in the folders of earlier versions
    (tmp_path / FILE).write_text(json.dumps(record), encoding="utf-8")
    assert open_policy(tmp_path).settings["data.normalise"] == default
