"""A policy and the prompt it was trained on stay together, and a server that asks it asks rightly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_tokenizers
from chat_templates import EXAMPLE, FAMILIES, KINDS, SHOTS, with_template
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data.errors import InputError
from data.prompt import Prompt
from data.prompt_record import FILE, check_wording, load_wording
from data.saved_prompt import kinds_of, load, model_ends, save
from data.template import CHAT, Wording

OWN = "Say {source} in {target_language}, {{x}} {% if %} \"'\\:\n"
WORDINGS = {
    "plain": Wording(),
    "plain with shots": Wording(shots=SHOTS),
    "own": Wording(OWN),
    "own, twice": Wording("{source} | {source} ="),
}


def served_ids(tokenizer: PreTrainedTokenizerBase, text: str, **variables: str) -> list[int]:
    """What a server makes of one message of a user."""
    message = {"role": "user", "content": text}
    return list(
        tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False, **variables)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORDINGS)
def test_one_message_of_a_user_gets_the_prompt_of_training(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    prompt = Prompt.of(KINDS[kind](tmp_path / "tokenizer"), WORDINGS[name])
    save(prompt, kinds_of([EXAMPLE]), tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["servers_ask_rightly"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for source in ("the dog", "天地 and\nthe cat", "<b>x</b>"):
        assert served_ids(tokenizer, source) == prompt.encode_prompt(replace(EXAMPLE, source=source))
    assert prompt.tokenizer.chat_template is None


def test_a_policy_is_asked_by_the_names_that_it_was_trained_on(tmp_path: Path) -> None:
    """Names of languages may change from version to version."""
    example = replace(EXAMPLE, source_language="en", target_language="zh-TW")
    prompt = Prompt.of(with_template(tiny_tokenizers.byte_level(), FAMILIES["chatml"]), Wording(CHAT))
    save(prompt, kinds_of([example]), tmp_path)
    assert load_wording(tmp_path) == Wording(CHAT)
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(text.replace('"Chinese (Traditional)"', '"Chinese"'), encoding="utf-8")
    assert "from English to Chinese. " in load(tmp_path, prompt.tokenizer).wording.request(example)
    with pytest.raises(
        InputError, match=r"was trained with prompt.target_label = 'Chinese', not ''; restore"
    ):
        check_wording(tmp_path, Wording(CHAT))


def test_with_several_languages_a_variable_chooses_and_the_first_is_the_default(tmp_path: Path) -> None:
    examples = [
        replace(EXAMPLE, source_language=code, target_language="zh") for code in ("bo", "dz", "bo", "en")
    ]
    prompt = Prompt.of(tiny_tokenizers.byte_level())
    save(prompt, kinds_of(examples), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert served_ids(tokenizer, "the dog") == prompt.encode_prompt(examples[0])
    for example in examples:
        languages = {"source_language": example.source_language, "target_language": "zh"}
        assert served_ids(tokenizer, "the dog", **languages) == prompt.encode_prompt(example)
    facts = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert [kind["source_label"] for kind in facts["kinds"]] == ["藏文", "宗喀文", "英文"]
    assert facts["kinds"][1]["prompt"] == "宗喀文：{source}\n中文："


def test_a_chat_keeps_its_template_and_servers_get_no_thinking(tmp_path: Path) -> None:
    tokenizer = with_template(tiny_tokenizers.byte_level(), FAMILIES["qwen3"])
    prompt = Prompt.of(tokenizer, Wording(CHAT, system="S", shots=SHOTS))
    save(prompt, kinds_of([EXAMPLE]), tmp_path)
    after = AutoTokenizer.from_pretrained(tmp_path)
    messages = prompt.wording.messages(EXAMPLE)
    ids = after.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == prompt.encode_prompt(EXAMPLE)
    again = load(tmp_path, after)
    assert again.encode_prompt(EXAMPLE) == ids and again.stops == prompt.stops
    thinking = after.apply_chat_template(
        messages, add_generation_prompt=True, enable_thinking=True, return_dict=False
    )
    assert thinking == ids[: len(thinking)] and len(thinking) < len(ids)


def test_what_was_saved_comes_back_and_earlier_folders_are_plain(tmp_path: Path) -> None:
    wording = Wording(OWN, source_label="S", shots=SHOTS, lines="many")
    save(Prompt.of(tiny_tokenizers.byte_level(), wording), kinds_of([EXAMPLE]), tmp_path)
    assert load_wording(tmp_path) == wording
    assert load_wording(tmp_path / "nothing") == Wording()


def test_another_wording_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    check_wording(tmp_path, Wording())
    with pytest.raises(InputError, match=r"was trained with prompt\.template = 'plain', not 'chat'; restore"):
        check_wording(tmp_path, Wording(CHAT))
    save(Prompt.of(tiny_tokenizers.byte_level(), Wording(shots=SHOTS)), kinds_of([EXAMPLE]), tmp_path)
    check_wording(tmp_path, Wording(shots=SHOTS))
    with pytest.raises(InputError, match=r"prompt\.shots = 2 examples, not 1 others"):
        check_wording(tmp_path, Wording(shots=SHOTS[:1]))


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"wording": {}}', '{"wording": {"shots": [1]}}', '{"wording": 1}']
)
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=str(tmp_path / FILE)):
        load_wording(tmp_path)


def test_every_end_that_a_model_names_counts_as_far_as_the_tokenizer_has_it(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizers.byte_level()
    assert model_ends(tmp_path, tokenizer) == ()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 5, 10**6, -1, None]}))
    assert model_ends(tmp_path, tokenizer) == (7, 5, 9)
