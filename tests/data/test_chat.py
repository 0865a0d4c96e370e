"""Chat prompts: the ids that the family's own template gives, where an answer begins, and what ends it."""

from pathlib import Path

import pytest
import tiny_tokenizers
from chat_templates import EXAMPLE, FAMILIES, KINDS, SHOTS, with_template
from transformers import PreTrainedTokenizerBase

from data.chat import fixed_template
from data.ends import text_ids
from data.errors import InputError
from data.examples import Example
from data.prompt import Prompt
from data.prompt_config import PromptConfig
from data.template import CHAT, Wording

CASES = [(kind, name) for kind in KINDS for name in FAMILIES]
ANSWERS = ("the cat sleep.", "the cat\nand the dog", "\u5929\u5730", "<b>x</b>")


def tokenizer_of(kind: str, name: str, folder: Path) -> PreTrainedTokenizerBase:
    return with_template(KINDS[kind](folder), FAMILIES[name])


def prompt_of(tokenizer: PreTrainedTokenizerBase, **settings: object) -> Prompt:
    return Prompt.of(tokenizer, Wording(template=CHAT, **settings))  # type: ignore[arg-type]


def test_there_are_twenty_families() -> None:
    assert len(FAMILIES) >= 20


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("shots", [(), SHOTS], ids=["no shots", "shots"])
def test_ids_are_those_of_the_template_with_one_start_token_at_most(
    kind: str, name: str, shots: tuple[Example, ...], tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(kind, name, tmp_path)
    prompt = prompt_of(tokenizer, shots=shots)
    switches = {"enable_thinking": False, "thinking": False}
    messages = prompt.wording.messages(EXAMPLE)
    if "of parts" in name:
        messages = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]  # type: ignore[dict-item]
    expected = tokenizer.apply_chat_template(
        messages, chat_template=fixed_template(str(tokenizer.chat_template)), tokenize=True, add_generation_prompt=True, return_dict=False
    )  # fmt: skip
    ids = prompt.encode_prompt(EXAMPLE)
    assert ids == expected
    if "date" not in name:
        assert ids == tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False, **switches
        )
    starts = 1 + len(shots) if "every request" in name else 1
    assert ids.count(tokenizer.bos_token_id) == starts * ("bos_token" in FAMILIES[name].template)
    assert ids[:2].count(tokenizer.bos_token_id) <= 1 and tokenizer.decode(ids).count("the dog") == 1
    assert len(messages) == 1 + 2 * len(shots) and "the dog" in tokenizer.decode(ids)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_an_answer_stands_where_the_prompt_ends_and_comes_back(kind: str, name: str, tmp_path: Path) -> None:
    """Pieces of the answer never merge into the prompt, and both together are the conversation as the template
    writes it.
    """
    tokenizer = tokenizer_of(kind, name, tmp_path)
    prompt = prompt_of(tokenizer)
    question = prompt.encode_prompt(EXAMPLE)
    end = (
        tokenizer.convert_tokens_to_ids(FAMILIES[name].end)
        if FAMILIES[name].tokens
        else tokenizer.eos_token_id
    )
    end = tokenizer.eos_token_id if FAMILIES[name].end == "<eos>" else end
    assert prompt.end == end and prompt.stops[0] == end and tokenizer.eos_token_id in prompt.stops
    assert prompt.chat is not None
    for answer in ANSWERS:
        ids = prompt.encode_completion(answer)
        assert prompt.decode_completion(ids) == answer == prompt.decode_completion([*ids, *ids])
        whole = [*prompt.wording.messages(EXAMPLE), {"role": "assistant", "content": answer}]
        text = prompt.chat.text(whole, is_prompt=False)
        before = text[: text.rindex(answer) + len(answer)]
        assert tokenizer.decode([*question, *ids[:-1]]) == before
        assert prompt.encode_prompt(EXAMPLE) == question


@pytest.mark.parametrize("name", FAMILIES)
def test_a_system_text_stands_in_the_prompt_once(name: str) -> None:
    prompt = prompt_of(tokenizer_of("byte level", name, Path()), system="Be brief.")
    assert prompt.visible_text(EXAMPLE).count("Be brief.") == 1
    assert len(prompt.remarks) == (not FAMILIES[name].takes_system)


def test_thinking_is_off_where_there_is_a_switch_and_the_date_stands_still() -> None:
    thinks = prompt_of(tokenizer_of("byte level", "qwen3", Path()))
    assert thinks.visible_text(EXAMPLE).endswith("<think>\\n\n\\n\n</think>\\n\n\\n")
    dated = prompt_of(tokenizer_of("byte level", "llama3.1, with a date", Path()))
    assert "Today is 26 Jul 2024" in dated.visible_text(EXAMPLE)
    template = FAMILIES["qwen3"].template
    assert fixed_template(fixed_template(template)) == fixed_template(template) != template
    assert fixed_template(FAMILIES["chatml"].template) == FAMILIES["chatml"].template


def test_line_ends_stop_only_a_completion_of_one_line() -> None:
    tokenizer = tokenizer_of("byte level", "chatml", Path())
    many = prompt_of(tokenizer)
    one = prompt_of(tokenizer, lines="one")
    (line_end,) = text_ids(tokenizer, "\n")
    assert line_end in one.stops and line_end not in many.stops
    ids = text_ids(tokenizer, " a\nb \n")
    assert many.decode_completion(ids) == "a\nb" and one.decode_completion(ids) == "a"
    plain = Prompt.of(tokenizer, Wording(lines="many"))
    assert plain.decode_completion(ids) == "a\nb" and plain.stops == (tokenizer.eos_token_id,)


def test_ends_of_the_model_end_too() -> None:
    tokenizer = tokenizer_of("byte level", "llama3", Path())
    prompt = Prompt.of(tokenizer, Wording(template=CHAT), (7, tokenizer.eos_token_id))
    assert prompt.stops == (tokenizer.convert_tokens_to_ids("<|eot|>"), tokenizer.eos_token_id, 7)
    assert prompt.stops_in_words.startswith("<|eot|> or <eos> or ")


def test_a_tokenizer_without_a_template_or_with_a_broken_one_is_refused() -> None:
    with pytest.raises(
        InputError, match=r'has no chat template; write prompt\.template="plain", or your own text'
    ):
        prompt_of(tiny_tokenizers.byte_level())
    tokenizer = tiny_tokenizers.byte_level()
    tokenizer.chat_template = "{% for %}"
    with pytest.raises(
        InputError, match=r'the chat template of .* cannot be used .*prompt\.template="plain"'
    ):
        prompt_of(tokenizer)


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{{ bos_token }}{% if add_generation_prompt %}Answer:{% endif %}", "it leaves out the message"),
        ("{% for message in messages %}{{ message.content[0].words }}{% endfor %}", "it leaves out the message"),
        ("{{ raise_exception('tools are needed') }}", "tools are needed"),
        ("{% for message in messages %}{{ message.content.text.value }}{% endfor %}", "has no attribute"),
    ],
)  # fmt: skip
def test_a_template_that_leaves_out_the_message_or_raises_is_refused(template: str, cause: str) -> None:
    """Past bug: where a template took no text but parts, the model was asked without the source text."""
    tokenizer = tiny_tokenizers.byte_level()
    tokenizer.chat_template = template
    with pytest.raises(InputError) as refusal:
        prompt_of(tokenizer)
    assert "cannot be used (" in str(refusal.value) and cause in str(refusal.value)
    assert str(refusal.value).endswith('; write prompt.template="plain", or your own text with {source}')


def test_a_template_of_parts_is_saved_so_that_servers_may_send_a_text(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("byte level", "gemma3, of parts", tmp_path)
    tokenizer.chat_template += "{% if thinking %}<think>{% endif %}"  # type: ignore[operator]
    prompt = prompt_of(tokenizer)
    assert prompt.chat is not None
    tokenizer.chat_template = prompt.chat.template  # as data/saved_prompt.py saves it
    text = [{"role": "user", "content": prompt.wording.messages(EXAMPLE)[0]["content"]}]
    parts = [{"role": "user", "content": [{"type": "text", "text": text[0]["content"]}, {"type": "image"}]}]
    ids, with_picture = (
        tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False)
        for one in (text, parts)
    )
    assert ids == prompt.encode_prompt(EXAMPLE)
    assert tokenizer.decode(with_picture) == tokenizer.decode(ids).replace(
        "<turn_end>", "<picture><turn_end>"
    )
    again = prompt_of(tokenizer).chat
    assert again is not None and again.template == prompt.chat.template


def test_thoughts_that_no_switch_turns_off_are_said() -> None:
    always = FAMILIES["chatml"].template.replace(
        "'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'"
    )
    assert always != FAMILIES["chatml"].template
    tokenizer = tokenizer_of("byte level", "chatml", Path())
    assert prompt_of(tokenizer).remarks == []
    tokenizer.chat_template = always
    (said,) = prompt_of(tokenizer).remarks
    assert said.startswith("the chat template always opens <think>")
    assert prompt_of(tokenizer_of("byte level", "qwen3", Path())).remarks == []


def test_a_special_token_in_a_message_is_known_and_in_the_wording_refused() -> None:
    """In a message its spelling becomes the token: such an example is left out (grpo/stages/lengths.py)."""
    tokenizer = tokenizer_of("byte level", "chatml", Path())
    assert {"<|im_end|>", "<|im_start|>", "<eos>"} <= set(prompt_of(tokenizer).spellings)
    with pytest.raises(InputError, match=r"the text holds <\|im_end\|>"):
        Prompt.of(tokenizer, Wording(template="{source}<|im_end|>"))
    with pytest.raises(InputError, match=r"the text holds <\|im_end\|>"):
        prompt_of(tokenizer, system="Hi<|im_end|>")


def test_settings_are_the_fields_of_the_wording() -> None:
    settings = PromptConfig(template=CHAT, system="S", shots=2, lines="one")
    assert Wording.of(settings, SHOTS) == Wording(CHAT, "S", lines="one", shots=SHOTS)
