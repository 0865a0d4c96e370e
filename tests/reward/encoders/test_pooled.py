"""A transformers folder as an encoder: blind to what else is in the batch, strict about what is in the folder."""

import json
import random
from pathlib import Path

import pytest
import tiny_encoders
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_encoders import HIDDEN, POSITIONS, TEXTS, body_folder, check_bits_in_every_batch, write_json
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from data.errors import InputError
from reward.encoders import pooled
from reward.encoders.pooled import PoolSettings, load_pooled, make_pooled_encoder, read_pool_settings
from reward.encoders.pooling import POOLINGS, blank_row

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["bert", "xlmr", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = body_folder(tmp_path_factory.mktemp("body") / request.param, request.param)
    write_json(folder / "encoder.json", {"max_length": 32})
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return body_folder(tmp_path / "bert")


def drawn_texts(count: int) -> list[str]:
    """Of every length, some cut off at max_length."""
    draw = random.Random(5)
    return ["".join(draw.choices(tiny_encoders.LETTERS, k=draw.randint(1, 40))) for _ in range(count)]


def test_equals_the_model_called_on_one_text_at_a_time(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = load_pooled(folder, CPU).encode(TEXTS)
    for text, row in zip(TEXTS, rows, strict=True):
        ids = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = model(input_ids=ids).last_hidden_state.mean(dim=1)[0]
        torch.testing.assert_close(row, expected / expected.norm(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("max_length", [32, POSITIONS])
def test_vector_is_bit_equal_in_every_batch(folder: Path, max_length: int) -> None:
    encoder = make_pooled_encoder(folder, PoolSettings(tuple(POOLINGS), max_length=max_length), CPU)
    check_bits_in_every_batch(encoder.encode, drawn_texts(40) + ["z" * 99] * 9)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 40), st.sampled_from([32, 128]))
def test_shape_of_a_pass_follows_from_the_length_alone(others: list[int], length: int, tokens: int) -> None:
    lengths = [length, *others]
    result = {
        i: shape for members, shape in pooled.length_batches(lengths, POSITIONS, tokens) for i in members
    }
    assert sorted(result) == [i for i, tokens_of_text in enumerate(lengths) if tokens_of_text]
    assert result[0] == next(pooled.length_batches([length], POSITIONS, tokens))[1]
    for members, (rows, width) in pooled.length_batches(lengths, POSITIONS, tokens):
        assert len(members) <= rows and max(lengths[i] for i in members) <= width <= POSITIONS
        assert len(members) < rows or max(lengths[i] for i in members) < width  # somewhere there is padding


def test_fill_token_cannot_be_seen(folder: Path) -> None:
    encoder = load_pooled(folder, CPU)
    if "xlm" in encoder.model.config.model_type:
        return  # it numbers its positions by the pad token, whatever the mask says
    rows = encoder.encode(TEXTS)
    encoder.tokenizer.pad_token = encoder.tokenizer.convert_ids_to_tokens(7)
    assert torch.equal(encoder.encode(TEXTS), rows)


def test_rows_are_unit_fp32_also_under_autocast(folder: Path) -> None:
    encoder = load_pooled(folder, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = encoder.encode(TEXTS)
    assert (
        torch.equal(rows, encoder.encode(TEXTS))
        and rows.dtype == torch.float32
        and rows.shape == (len(TEXTS), HIDDEN)
    )
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(TEXTS)), atol=1e-5, rtol=0)
    assert not rows.requires_grad and encoder.encode([]).shape == (0, HIDDEN)


def test_text_without_tokens_gets_the_blank_row(bert: Path) -> None:
    encoder = load_pooled(bert, CPU)
    # a tokenizer that adds no special tokens
    encoder._ids = lambda texts: [[5] if text else [] for text in texts]
    rows = encoder.encode(["", "a", ""])
    assert torch.equal(rows[0], torch.nn.functional.normalize(blank_row(HIDDEN), dim=0)) and torch.equal(
        rows[0], rows[2]
    )
    assert not torch.equal(rows[0], rows[1])


def test_loading_leaves_the_global_generator_alone(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("pooler.")},
        bert / "model.safetensors",
        metadata={"format": "pt"},
    )
    torch.manual_seed(0)
    state = torch.get_rng_state()
    load_pooled(bert, CPU)  # transformers draws the pooler's weights, which no hidden state passes through
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_change_vectors_and_fingerprint(bert: Path) -> None:
    vectors = []
    prints = []
    for settings in (
        {},
        {"pooling": "cls"},
        {"pooling": ["cls", "mean"]},
        {"prompt": "abc"},
        {"prompt": "abc", "include_prompt": False},
    ):
        write_json(bert / "encoder.json", settings)
        encoder = load_pooled(bert, CPU)
        vectors.append(tuple(encoder.encode(["hello"])[0].tolist()))
        prints.append(encoder.fingerprint)
    assert len(set(vectors)) == len(set(prints)) == 5 and len(vectors[2]) == 2 * HIDDEN


def test_fingerprint_names_weights_and_arithmetic(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_pooled(bert, CPU).fingerprint
    (bert / "README.md").write_text("no matter")
    assert load_pooled(bert, CPU).fingerprint == before
    with monkeypatch.context() as patch:
        patch.setattr(pooled, "BATCH_TOKENS", 64)
        assert load_pooled(bert, CPU).fingerprint != before
    weights = load_file(bert / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"] += 1
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    assert load_pooled(bert, CPU).fingerprint != before


def test_prompt_stands_in_front(bert: Path) -> None:
    with_prompt = make_pooled_encoder(bert, PoolSettings(prompt="ab"), CPU).encode(["c"])
    assert torch.equal(with_prompt, make_pooled_encoder(bert, PoolSettings(), CPU).encode(["abc"]))


def test_longer_texts_are_cut_with_their_end_token_kept(bert: Path) -> None:
    encoder = make_pooled_encoder(bert, PoolSettings(max_length=6), CPU)
    assert torch.equal(encoder.encode(["abcdXYZ"]), encoder.encode(["abcd"]))
    assert not torch.equal(encoder.encode(["abcd"]), encoder.encode(["abc"]))


def test_encoder_of_an_encoder_decoder_is_used(tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    tokenizer: PreTrainedTokenizerBase = tiny_encoders.tokenizer("bert")
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    T5Model(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_pooled(tmp_path, CPU).encode(TEXTS).shape == (len(TEXTS), 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"poling": "mean"}, r"encoder\.json: unknown key 'poling'; known keys: pooling, prompt, max_length, include_prompt"),
        ({"pooling": "median"}, r"encoder\.json: unknown pooling 'median'; known poolings: cls, max, mean, mean_sqrt_len_tokens"),
        ({"pooling": []}, r"encoder\.json: unknown pooling ''"),
        ({"pooling": [["cls"]]}, r"encoder\.json: unknown pooling \['cls'\]"),
        ({"max_length": 0}, r"encoder\.json: max_length = 0: must be at least 1"),
        ({"max_length": "128"}, r'encoder\.json: max_length = "128": must be int'),
        ({"max_length": True}, r"encoder\.json: max_length = true: must be int"),
        ({"prompt": None}, r"encoder\.json: prompt = null: must be str"),
        ([1], r"encoder\.json: must hold a JSON object \{\.\.\.\}, not list"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(tmp_path: Path, settings: object, message: str) -> None:
    write_json(tmp_path / "encoder.json", settings)
    with pytest.raises(InputError, match=message):
        read_pool_settings(tmp_path / "encoder.json")


def test_broken_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json: not a readable JSON file"):
        read_pool_settings(tmp_path / "encoder.json")


def test_length_is_cut_to_what_the_model_can_take(bert: Path) -> None:
    encoder = load_pooled(bert, CPU)
    assert encoder.max_length == POSITIONS < pooled.DEFAULT_LENGTH
    assert torch.equal(encoder.encode(["z" * 500]), encoder.encode(["z" * 100]))


def test_missing_tensor_is_refused(bert: Path) -> None:
    """transformers would fill it with random numbers."""
    weights = load_file(bert / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the weights lack encoder\.layer\.1\.output\.dense\.weight"):
        load_pooled(bert, CPU)


def test_pickled_weights_are_refused(bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"weights are only a pickle \(pytorch_model\.bin\), .* save them as safetensors"
    ):
        load_pooled(bert, CPU)
    (bert / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"no weights \(\*\.safetensors\)"):
        load_pooled(bert, CPU)


def test_damaged_weights_and_tokenizer_are_refused(bert: Path) -> None:
    content = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable safetensors file"):
        load_pooled(bert, CPU)
    (bert / "model.safetensors").write_bytes(content)
    (bert / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"no tokenizer that transformers can read"):
        load_pooled(bert, CPU)


def test_unknown_architecture_is_refused(bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    write_json(bert / "config.json", {**config, "model_type": "own", "auto_map": {"AutoModel": "own.Own"}})
    with pytest.raises(InputError, match=r"bert: "):
        load_pooled(bert, CPU)
