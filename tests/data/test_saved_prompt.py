"""A policy and the prompt it was trained on stay together, and a server that asks it asks rightly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tokenizers
from chat_templates import EXAMPLE, FAMILIES, KINDS, SHOTS, with_template
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data.errors import InputError
from data.prompt import Prompt
from data.prompt_record import FILE, check_chat, check_wording, load_kinds, load_wording, read_record
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


WRONG = [  # change of a whole record, what is said
    ({"format": "1"}, "format = \"1\": must be a whole number; restore the file"),
    ({"format": True}, "format = true: must be a whole number; restore the file"),
    ({"format": 2}, "format = 2, and this version reads format 1; use the version that wrote it"),
    ({"end": "</s>"}, "end = \"</s>\": must be the id of a token, a whole number from 0; restore the file"),
    ({"end": None}, "end = null: must be the id of a token"),
    ({"end": -1}, "end = -1: must be the id of a token"),
    ({"end": 1.0}, "end = 1.0: must be the id of a token"),
    ({"stops": 1}, "stops = 1: must be a list of token ids, whole numbers from 0; restore the file"),
    ({"stops": [1, "2"]}, "stops = "),
    ({"stops": [True]}, "stops = "),
    ({"stops": None}, "stops = null: must be a list"),
    ({"kinds": {}}, "kinds = {}: must be a list of objects {...}; restore the file"),
    ({"kinds": ["bo"]}, "kinds = "),
    ({"kinds": [{"source_language": 1, "target_language": "zh", "task": "mt"}]}, "kinds: source_language = 1: must be a text"),
    ({"kinds": [{"source_language": "bo", "target_language": "zh"}]}, "is no record of a prompt ('task')"),
    ({"servers_ask_rightly": "yes"}, "servers_ask_rightly = \"yes\": must be true or false; restore the file"),
    ({"normalise": "nfc"}, "normalise = \"nfc\": must be a list of texts; restore the file"),
    ({"normalise": ["nfc", "later"]}, "normalise: later is no step; known steps: invisible, "),
    ({"wording": []}, "wording = []: must be an object {...}; restore the file"),
    ({"shots": [{"source": 5}]}, "shots: source = 5: must be a text; restore the file"),
    ({"shots": [{"others": "x"}]}, "shots: others = \"x\": must be a list of texts; restore the file"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_wrong_types_in_a_record_are_refused_by_file_key_and_cure(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    save(Prompt.of(tiny_tokenizers.byte_level(), Wording(shots=SHOTS)), kinds_of([EXAMPLE]), tmp_path)
    facts = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert read_record(tmp_path) == facts and (facts["format"], facts["stops"][:1]) == (1, [facts["end"]])
    shots = [
        {**shot, **own}
        for shot, own in zip(facts["wording"]["shots"], change.pop("shots", [{}]), strict=False)
    ]
    facts["wording"]["shots"] = shots
    (tmp_path / FILE).write_text(json.dumps(facts | change), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        load_wording(tmp_path)
        load_kinds(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / FILE}: ") and said in str(refusal.value)
    assert str(refusal.value).count("\n") == 0 and "; " in str(refusal.value)


def test_a_record_without_what_a_reader_needs_is_refused(tmp_path: Path) -> None:
    assert read_record(tmp_path, ("end",)) == {}
    (tmp_path / FILE).write_text('{"kinds": []}')
    with pytest.raises(InputError, match=r"is no record of a prompt \(it lacks 'end'\); restore the file"):
        read_record(tmp_path, ("kinds", "end"))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eos_token_id": "</s>"}, "eos_token_id = \"</s>\": must be the id of a token, or a list of such; restore the file"),
        ({"eos_token_id": [7, 5.0]}, "eos_token_id = [7, 5.0]: must be the id"),
        ({"eos_token_id": True}, "eos_token_id = true: must be the id"),
        ({"architectures": 5}, "architectures = 5: must be a list of texts; restore the file, or download the model again"),
        ({"vocab_size": "9"}, "vocab_size = \"9\": must be a whole number"),
        ({"text_config": 5}, "text_config = 5: must be an object {...}"),
        ({"text_config": {"max_position_embeddings": "9"}}, "max_position_embeddings = \"9\": must be a whole number"),
    ],
)  # fmt: skip
def test_wrong_types_in_a_models_settings_are_refused(
    name: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(json.dumps(settings))
    with pytest.raises(InputError) as refusal:
        model_ends(tmp_path, tiny_tokenizers.byte_level())
    assert str(refusal.value).startswith(f"{tmp_path / name}: {said}")
    (tmp_path / name).write_text(json.dumps(dict.fromkeys(settings)))  # null stands for no value
    assert model_ends(tmp_path, tiny_tokenizers.byte_level()) == ()


def test_every_end_that_a_model_names_counts_as_far_as_the_tokenizer_has_it(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizers.byte_level()
    assert model_ends(tmp_path, tokenizer) == ()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 5, 10**6, -1, None]}))
    assert model_ends(tmp_path, tokenizer) == (7, 5, 9)


def test_a_chat_cannot_begin_from_a_policy_of_a_text(tmp_path: Path) -> None:
    """Past bug: the chat template beside such a policy writes its own text, so the chat was asked in that text and its
    system text was left out, without a word.
    """
    check_chat(tmp_path, Wording(CHAT))
    tokenizer = with_template(tiny_tokenizers.byte_level(), FAMILIES["chatml"])
    save(Prompt.of(tokenizer, Wording("english")), kinds_of([EXAMPLE]), tmp_path)
    check_chat(tmp_path, Wording())
    with pytest.raises(InputError) as refusal:
        check_chat(tmp_path, Wording(CHAT))
    assert str(refusal.value) == (
        f"prompt.template=\"chat\": {tmp_path} was trained with prompt.template = 'english', and its chat template only writes "
        'that prompt; write prompt.template="english", or put another chat template into that folder and remove its prompt.json'
    )
    save(Prompt.of(tokenizer, Wording(CHAT)), kinds_of([EXAMPLE]), tmp_path)
    check_chat(tmp_path, Wording(CHAT, system="Other words"))
