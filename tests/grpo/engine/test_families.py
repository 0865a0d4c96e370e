"""Model families, tiny and random: each computes the same in packed or padded rows, in the sampler and plainly, or
is refused with the cause.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_families import BLOCKS, DENSE, EAGER, FAMILIES, FAST, PADDED, REFUSED, made, names_of, way_of
from ragged import COMPLETIONS, PROMPTS
from repository import ROOT
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from data.errors import InputError
from grpo.config import LossConfig
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy, load_policy
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import Need, check_packing, check_positions
from grpo.engine.weight_files import ModelTensors, write_folder
from grpo.loss import Bounds, grpo_loss, token_weights

CPU = torch.device("cpu")
PACKED = names_of(FAST, BLOCKS, DENSE, EAGER)
RUNS = PACKED + names_of(PADDED)
OFTEN = {
    "Gemma 2", "Gemma 3", "Llama 3", "Qwen 2", "Qwen 2.5", "Qwen 3", "Mistral", "Phi-3", "OLMo 2", "SmolLM 3", "GPT-2", "Falcon",
    "Qwen 3 MoE", "Jamba", "BLOOM",
}  # fmt: skip
often = pytest.mark.parametrize(
    "family", [one if one in OFTEN else pytest.param(one, marks=pytest.mark.slow) for one in RUNS]
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def folder_of(family: str, folders: Path) -> Path:
    """Made once for all tests; its random weights are small enough for fp32 to be exact to 1e-5 nats."""
    folder = folders / family.replace(" ", "_")
    return folder if folder.exists() else made(family, folder, scale=3.0)


@pytest.mark.parametrize("family", RUNS)
def test_each_way_of_computing_gives_the_same(family: str, tmp_path: Path) -> None:
    """Past bug: Gemma 2 and XGLM were said to be no causal LMs; Nemotron failed on a size of tensors."""
    model = load_policy(made(family, tmp_path / "model"), CPU)
    assert way_of(model) == FAMILIES[family][2]
    assert check_packing(model) < 1e-4
    if family in PACKED:
        assert check_packing(load_policy(tmp_path / "model", CPU, packed_attention=False), fast=False) < 1e-4


def plain_logps(model: PreTrainedModel) -> list[Tensor]:
    """Each completion behind its own prompt, in a forward pass of its own."""
    result = []
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[row // 3]
        ids = torch.tensor([prompt + completion])
        logps = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        result.append(logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0])
    return result


@often
def test_an_update_is_that_of_the_plain_forward_pass(family: str, folders: Path) -> None:
    """Log-probabilities of ragged groups to 1e-5 nats, and the gradient of a GRPO update, which is -w A at the first."""
    model = load_policy(folder_of(family, folders), CPU)
    other = AutoModelForCausalLM.from_pretrained(folder_of(family, folders)).eval()
    logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
    lengths = torch.tensor([len(completion) for completion in COMPLETIONS])
    mask = torch.arange(logps.shape[1]) < lengths[:, None]
    weights = token_weights(mask, "token")
    advantages = torch.linspace(-1, 1, len(COMPLETIONS))
    bounds = Bounds(LossConfig.clip_low, LossConfig.clip_high, 0.0)
    settings: dict[str, Any] = {"bounds": bounds, "kl_coef": 0.0}
    grpo_loss(logps, None, logps.detach(), advantages, mask, weights, **settings)[0].backward()
    plain = plain_logps(other)
    for row, expected in enumerate(plain):
        torch.testing.assert_close(logps[row, : len(expected)], expected, atol=1e-5, rtol=0)
    sum(-advantage * row.sum() for advantage, row in zip(advantages, plain, strict=True)).div(
        mask.sum()
    ).backward()
    gradients = {
        name: parameter.grad for name, parameter in other.named_parameters() if parameter.grad is not None
    }
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert total > 0
    for name, parameter in model.named_parameters():
        found = torch.zeros(()) if parameter.grad is None else parameter.grad
        assert (found - gradients.get(name, torch.zeros(()))).norm() < 1e-4 * total, name


def assert_equal(one: torch.Tensor, other: torch.Tensor, family: str) -> None:
    """Bit for bit; families with a state to rounding: on some processors their sums depend on where a tensor lies in
    memory (seen with Jamba, Mamba and Falcon Mamba).
    """
    tolerance = 0 if family in PACKED else 1e-5
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@often
def test_what_is_sampled_is_what_is_trained_also_after_saving(
    family: str, folders: Path, tmp_path: Path
) -> None:
    """Groups of prompts of different lengths, rows that stop early; greedy outputs; a copy, and a folder written and
    read by this project and by transformers.
    """
    model = load_policy(folder_of(family, folders), CPU)
    stops = tuple(range(3, 40))
    rollout = generate(model, PROMPTS, Sampling(3, 8, 0.8, stops), seed=(1,))
    assert rollout.finished.any() and not rollout.finished.all()
    packed = pack(PROMPTS, rollout.completions(), 3, width=8)
    with torch.no_grad():
        logps = completion_logps(model, packed, 0.8).logps
        torch.testing.assert_close(rollout.sampling_logps, logps, atol=1e-5, rtol=0)
        assert_equal(completion_logps(frozen_copy(model), packed, 0.8).logps, logps, family)
        ids = torch.tensor([PROMPTS[0]])
        first = generate(model, PROMPTS[:1], Sampling(1, 1, 0.0, ()), seed=(1,)).completion_ids[0, 0]
        assert first == model(input_ids=ids, use_cache=False).logits[0, -1].argmax()
        (tmp_path / "saved").mkdir()
        write_folder(tmp_path / "saved", model, ModelTensors(model))
        again = load_policy(tmp_path / "saved", CPU)
        assert way_of(again) == way_of(model)
        assert_equal(completion_logps(again, packed, 0.8).logps, logps, family)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
        inputs = {"input_ids": ids, "use_cache": False}
        assert_equal(theirs(**inputs).logits, model(**inputs).logits, family)


@pytest.mark.parametrize("family", PACKED)
def test_a_row_may_be_longer_than_the_positions(family: str, folders: Path) -> None:
    model = load_policy(folder_of(family, folders), CPU)
    prompts = torch.randint(4, 259, (4, 30), generator=torch.Generator().manual_seed(1)).tolist()
    together = completion_logps(model, pack(prompts, [prompt[:9] for prompt in prompts], 1)).logps
    alone = [completion_logps(model, pack([prompt], [prompt[:9]], 1)).logps for prompt in prompts]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


CAUSES = {
    "RWKV": "has recurrent layers, .*, and log-probabilities of the sampler differ",
    "xLSTM": "has recurrent layers, .*, and the sampler cannot run it",
    "XLNet": "cannot go on from the keys and values of a prompt, and log-probabilities of padded rows differ",
}


@pytest.mark.parametrize("family", names_of(REFUSED))
def test_refused_with_the_cause(family: str, tmp_path: Path) -> None:
    """Past bug: an IndexError, a size of tensors, or that this were no causal LM, was the reason given."""
    model = load_policy(made(family, tmp_path / "model"), CPU)
    cause = rf"model: {model.config.model_type} cannot be trained: it {CAUSES[family]}.*docs/models\.md"
    with pytest.raises(InputError, match=cause) as refused:
        check_packing(model)
    assert len(str(refused.value).splitlines()) == 1


def test_the_table_of_the_docs_is_what_the_code_does() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "docs" / "models.md").read_text(), re.MULTILINE)
    table = {way: sorted(re.split(r", ", families)) for way, families in rows}
    expected = {way: sorted(names_of(way)) for way in (FAST, BLOCKS, DENSE, EAGER, PADDED, REFUSED)}
    assert {way: table.get(way) for way in expected} == expected


def test_a_model_of_another_kind_is_refused_as_such(tmp_path: Path) -> None:
    transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=259, d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"T5ForConditionalGeneration has an encoder .* ends with ForCausalLM"
    ):
        load_policy(tmp_path, CPU)


@pytest.mark.parametrize("family", ["GPT-2", "OPT", "XGLM", "GPT-J", "GPT-Neo"])
def test_positions_that_a_table_lacks_are_refused(family: str, folders: Path) -> None:
    """Past bug: an index out of range in the middle of training."""
    model = load_policy(folder_of(family, folders), CPU)
    assert check_positions(model, [Need(64, "prompts", "lower them"), Need(3, "texts", "leave them")]) == ""
    with pytest.raises(InputError, match="has 64 positions, and prompts need 65; lower them"):
        check_positions(model, [Need(65, "prompts", "lower them"), Need(3, "texts", "leave them")])


def test_positions_beyond_what_a_rotary_model_was_made_for_are_said(folders: Path) -> None:
    model = load_policy(folder_of("Llama 2", folders), CPU)
    assert check_positions(model, [Need(65, "prompts", "lower them")]) == (
        "prompts need 65 positions, more than the 64 that this model was made for; lower them"
    )
