"""What model folders differ in beside their family: rows that no token has, tokens that are missing, formats and
files of the weights, experts.
"""

import json
from pathlib import Path

import pytest
import torch
from model_families import made
from ragged import COMPLETIONS, PROMPTS
from ranks import run_ranks
from safetensors.torch import load_file, save_file
from tiny import byte_tokenizer, tiny_gpt2
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from data.prompt import Prompt
from eval.forgetting.drift import TokenText, measure_drift
from grpo.config import Config
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.logprob import completion_logps
from grpo.engine.model import load_frozen, load_policy, load_tokenizer
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import check_packing
from grpo.runtime.parallel import World
from grpo.stages.duration import model_sizes
from grpo.stages.hooks import name_ends

CPU = torch.device("cpu")
TOKENS = 259  # of the byte tokenizer
ROWS = 320


def padded_folder(family: str, folder: Path) -> Path:
    """A model whose rows without a token would win every draw, and a tokenizer."""
    made(family, folder, vocab_size=ROWS)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight[TOKENS:] *= 30
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def over_tokens(model: PreTrainedModel) -> list[torch.Tensor]:
    """Log-probabilities of the completions among the tokens alone, by plain forward passes."""
    result = []
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[row // 3]
        ids = torch.tensor([prompt + completion])
        logps = model(input_ids=ids, use_cache=False).logits[0, :, :TOKENS].log_softmax(-1)
        result.append(logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0])
    return result


@pytest.mark.parametrize(
    "family", ["Llama 2", "Qwen 2.5", "GPT-2", "Cohere", "Gemma 2", "BLOOM"]
)  # untied, tied, own forward, scaled, capped, padded
def test_a_row_without_a_token_is_never_sampled_and_gets_no_probability(family: str, tmp_path: Path) -> None:
    """Past bug: 300 rows of a model had no token; their ids were sampled, and decoding them gave nothing."""
    model = load_policy(padded_folder(family, tmp_path), CPU)
    assert check_packing(model) < 1e-4 and check_packing(model, fast=False) < 1e-4
    for temperature in (0.0, 1.0):
        for fast in (True, False):
            rollout = generate(model, PROMPTS, Sampling(8, 6, temperature, (), fast), seed=(0,))
            assert int(rollout.completion_ids.max()) < TOKENS
    logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
    with torch.no_grad():
        expected = over_tokens(model)
    for row, values in enumerate(expected):
        torch.testing.assert_close(logps[row, : len(values)], values, atol=2e-5, rtol=1e-5)
    logps.sum().backward()
    gradient = model.get_output_embeddings().weight.grad
    assert gradient.shape[0] == ROWS and not gradient[TOKENS:].any() and gradient[:TOKENS].any()
    frozen = load_frozen(tmp_path, CPU)
    (first,) = log_likelihoods(frozen, PROMPTS[:1], [[COMPLETIONS[0]]])
    assert first[0] == pytest.approx(float(expected[0].sum()), abs=1e-4)
    drift = measure_drift(model, frozen, [TokenText("a", PROMPTS[0], COMPLETIONS[0])])
    assert drift["nll_mean"] == pytest.approx(-float(expected[0].mean()), abs=1e-4) and drift["kl_mean"] == 0


def test_rows_are_those_of_the_tokenizer_that_is_there_now(tmp_path: Path) -> None:
    padded_folder("Llama 2", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(tmp_path)
    rollout = generate(load_policy(tmp_path, CPU), PROMPTS, Sampling(8, 6, 0.0, ()), seed=(0,))
    assert int(rollout.completion_ids.max()) < TOKENS + 1


def bare_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """No token for padding, beginnings or what is unknown; nothing is put in front of a text."""
    content = json.loads(byte_tokenizer().backend_tokenizer.to_str()) | {"post_processor": None}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token="<eos>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("family", ["Llama 2", "GPT-2", "Jamba"])
def test_tokens_for_padding_and_beginnings_may_be_missing(family: str, tmp_path: Path) -> None:
    made(family, tmp_path, pad_token_id=None, bos_token_id=None)
    bare_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id is tokenizer.bos_token_id is None and first_ids(tokenizer) == [1]
    model = load_policy(tmp_path, CPU)
    assert check_packing(model) < 1e-4
    name_ends(model, Prompt.of(tokenizer))
    assert model.generation_config.eos_token_id == 1 == model.generation_config.pad_token_id
    logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
    for row, completion in enumerate(COMPLETIONS):
        ids = torch.tensor([PROMPTS[row // 3] + completion])
        plain = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)[-len(completion) - 1 : -1]
        expected = plain.gather(1, torch.tensor(completion)[:, None])[:, 0]
        torch.testing.assert_close(logps[row, : len(completion)], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["Mixtral", "Gemma 3", "Jamba"])
def test_weights_of_16_bits_in_several_files(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Numbers are those of the rounded weights in fp32, which is what is trained."""
    made(family, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=dtype)
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len([*(tmp_path / "parts").glob("*.safetensors")]) > 2
    policy = load_policy(tmp_path / "parts", CPU)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    ids = torch.tensor([PROMPTS[0]])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "parts", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(policy(ids, use_cache=False).logits, plain(ids, use_cache=False).logits)
    assert check_packing(policy) < 1e-4


def test_the_loss_of_a_router_is_not_added(tmp_path: Path) -> None:
    packed = pack(PROMPTS, COMPLETIONS, 3)
    gradients = []
    for setting in (False, True):
        folder = made(
            "Qwen 3 MoE", tmp_path / str(setting), output_router_logits=setting, router_aux_loss_coef=9.0
        )
        model = load_policy(folder, CPU)
        completion_logps(model, packed).logps.sum().backward()
        gradients.append(model.base_model.layers[0].mlp.gate.weight.grad)
    assert torch.equal(*gradients) and gradients[0].any()


def test_the_bill_of_memory_counts_all_experts(tmp_path: Path) -> None:
    made("Qwen 3 MoE", tmp_path, num_experts=16)
    model = load_policy(tmp_path, CPU)
    assert model_sizes(Config(), tmp_path).parameters == sum(p.numel() for p in model.parameters())


def test_a_model_without_a_tokenizer_keeps_all_its_rows() -> None:
    rollout = generate(tiny_gpt2(vocabulary=300), PROMPTS, Sampling(40, 6, 3.0, ()), seed=(0,))
    assert int(rollout.completion_ids.max()) >= TOKENS


def in_shares(world: World, folder: Path, results: Path) -> None:
    """What each of several processes samples and trains on with its share of a model."""
    model = load_policy(folder, CPU, world=world)
    rollout = generate(model, PROMPTS, Sampling(3, 6, 1.0, ()), seed=(0,))
    logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
    logps.sum().backward()
    found = {"ids": rollout.completion_ids, "logps": logps.detach(), "sampled": rollout.sampling_logps}
    save_file(found, results / f"{world.rank}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Llama 2", "Qwen 2.5"])
def test_rows_without_a_token_in_shares(family: str, tmp_path: Path) -> None:
    folder = padded_folder(family, tmp_path / "model")
    assert run_ranks(2, in_shares, folder, tmp_path) == [0, 0]
    in_shares(World(2, 1, "data"), folder, tmp_path)
    alone, *shares = (load_file(tmp_path / f"{rank}.safetensors") for rank in (2, 0, 1))
    for own in shares:
        assert torch.equal(own["ids"], alone["ids"]) and int(own["ids"].max()) < TOKENS
        torch.testing.assert_close(own["logps"], alone["logps"], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(own["sampled"], alone["sampled"], atol=1e-4, rtol=1e-5)
