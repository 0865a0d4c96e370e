"""A model in another form: the same numbers, the files that go along, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import outcome
from safetensors.torch import load_file
from tiny import initialise
from tiny_tokenizers import gemma
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
)

from data.errors import InputError
from grpo.publish import export
from grpo.publish.export import check_like, main
from grpo.publish.trial import largest_gap, load, log_probabilities

IDS = [2, 10, 20, 30, 40, 50]


@pytest.fixture
def run(tiny_folder: Path, tmp_path: Path) -> Path:
    """A run folder with a policy and what a run puts beside it."""
    policy = shutil.copytree(tiny_folder, tmp_path / "run" / "policy")
    prompt = {"kinds": [{"prompt": "bo: {source}\nzh: "}], "end": 1}
    for name, text in (("prompt.json", json.dumps(prompt)), ("README.md", "card"), ("Notice", "terms\n")):
        (policy / name).write_text(text)
    (tmp_path / "run" / "config.json").write_text(json.dumps({"train": {}}))
    return tmp_path / "run"


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return model(torch.tensor([IDS])).logits


def test_bf16_has_the_rounded_weights_and_everything_beside_them(run: Path, tmp_path: Path) -> None:
    assert outcome(main, [str(run), "--to", str(tmp_path / "out"), "--bf16"]) == (0, "")
    out = tmp_path / "out"
    before, after = (load_file(folder / "model.safetensors") for folder in (run / "policy", out))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name].to(torch.bfloat16)) for name in before)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    for name in ("tokenizer.json", "tokenizer_config.json", "prompt.json", "README.md"):
        assert (out / name).read_bytes() == (run / "policy" / name).read_bytes()
    assert (out / "Notice").read_text() == "terms\nThe weights were rounded to bf16.\n"


def test_shards_are_cut_and_merged_without_a_changed_bit(run: Path, tmp_path: Path) -> None:
    many, one = tmp_path / "many", tmp_path / "one"
    assert outcome(main, [str(run / "policy"), "--to", str(many), "--max-shard-size", "50KB"]) == (0, "")
    assert len(list(many.glob("*.safetensors"))) > 2 and (many / "Notice").read_text() == "terms\n"
    assert outcome(main, [str(many), "--to", str(one), "--merge-shards"]) == (0, "")
    assert [path.name for path in one.glob("*.safetensors*")] == ["model.safetensors"]
    assert torch.equal(logits(one), logits(run / "policy"))


def test_a_weight_beyond_fp16_is_refused_and_nothing_is_left(run: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(run / "policy", dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight[0] = 70_000.0
    model.save_pretrained(run / "policy")
    code, said = outcome(main, [str(run), "--to", str(tmp_path / "out"), "--fp16"])
    assert code == 2 and "model.norm.weight has a weight that fp16 cannot hold; write --bf16" in said
    assert not (tmp_path / "out").exists()


def test_what_is_read_back_otherwise_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader that gives one weight another value: the check sees 1e-2 of it and lets 1e-7 pass."""
    model = load(run / "policy", torch.float32)
    meant = log_probabilities(model, IDS)
    for change, is_refused in ((1e-7, False), (1e-2, True)):
        with torch.no_grad():
            model.model.norm.weight += change
        if is_refused:
            assert largest_gap(meant, log_probabilities(model, IDS)) > 1e-4
            with pytest.raises(InputError, match=r"read back, it differs by .* nats"):
                check_like(model, IDS, meant, tmp_path)
        else:
            check_like(model, IDS, meant, tmp_path)
    monkeypatch.setattr(export, "check_like", lambda *_: (_ for _ in ()).throw(InputError("differs")))
    assert outcome(main, [str(run), "--to", str(tmp_path / "out")])[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_refusals(run: Path, tmp_path: Path) -> None:
    out = ["--to", str(tmp_path / "out")]
    (tmp_path / "there").mkdir()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "llama"}')
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text('{"train": {}}')
    cases = {
        (str(run),): "name what to write: --to FOLDER, --gguf FILE, or both",
        (str(run), "--to", str(tmp_path / "there")): "is there already; name another folder",
        (str(tmp_path / "nowhere"), *out): "no model there; give the folder of a finished run",
        (str(pickled), *out): "its weights are only a pickle (pytorch_model.bin)",
        (str(unfinished), *out): "this run has no policy yet",
        (
            str(run),
            "--gguf",
            str(tmp_path / "x.gguf"),
        ): "--gguf: its layers do not see the whole text at every 6th layer",
    }
    for arguments, said in cases.items():
        code, sentence = outcome(main, list(arguments))
        assert code == 2 and said in sentence and sentence.count("\n") == 1, sentence
    for size in ("5", "0GB", "5TB", "x"):
        assert outcome(main, [str(run), *out, "--max-shard-size", size])[0] == 2
    assert outcome(main, [str(run), *out, "--bf16", "--fp16"])[0] == 2
    assert not (tmp_path / "out").exists()


def six_layers() -> PreTrainedModel:
    config = Gemma3TextConfig(
        vocab_size=340, hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=1,
        head_dim=8, sliding_window=8, query_pre_attn_scalar=8, max_position_embeddings=1024, pad_token_id=332, eos_token_id=331,
        bos_token_id=330,
    )  # fmt: skip
    return initialise(lambda: Gemma3ForCausalLM(config), 0)


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A Gemma 3 as llama.cpp knows them, with a tokenizer of its kind."""
    six_layers().save_pretrained(tmp_path / "six")
    gemma(tmp_path / "tokenizer").save_pretrained(tmp_path / "six")
    return tmp_path / "six"


def test_a_gguf_file_gives_the_same_numbers_and_the_same_pieces(six: Path, tmp_path: Path) -> None:
    """Read by transformers, which takes 1 off each norm again, and cuts text by the order of the pieces."""
    path = tmp_path / "m.gguf"
    assert outcome(main, [str(six), "--gguf", str(path)]) == (0, "")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.gguf", "six", "tokenizer"]
    config = AutoModelForCausalLM.from_pretrained(six).config
    read = load(tmp_path, torch.float32, gguf_file="m.gguf", config=config)
    assert largest_gap(log_probabilities(six_layers(), IDS), log_probabilities(read, IDS)) < 1e-5
    ours, theirs = (
        AutoTokenizer.from_pretrained(six),
        AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf"),
    )
    for text in ("the quick  brown\n", "地 ཀ་ཁ!", " a"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    code, said = outcome(main, [str(six), "--gguf", str(path)])
    assert code == 2 and "is there already; name another file" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query_pre_attn_scalar": 16}, "query_pre_attn_scalar is not head_dim"),
        ({"final_logit_softcapping": 30.0}, "it has soft caps"),
    ],
)
def test_what_a_gguf_file_cannot_say_is_refused(
    change: dict[str, float], said: str, six: Path, tmp_path: Path
) -> None:
    path = six / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, sentence = outcome(main, [str(six), "--gguf", str(tmp_path / "m.gguf")])
    assert code == 2 and said in sentence and "python convert_hf_to_gguf.py" in sentence


def test_another_tokenizer_is_refused(six: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder / name, six / name)
    code, said = outcome(main, [str(six), "--gguf", str(tmp_path / "m.gguf")])
    assert code == 2 and "--gguf: its tokenizer is not Gemma's" in said
