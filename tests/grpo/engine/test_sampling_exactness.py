"""What is sampled is what is trained: distribution, temperature, support, number format. Criteria:
docs/correctness.md.
"""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from ragged import PROMPTS
from tiny import EOS, Make, tiny_gemma, tiny_llama
from torch import Tensor
from transformers import PreTrainedModel

from data.cache import cache_dir
from data.errors import InputError
from grpo.config_file import load_config
from grpo.engine.attention import use_blocks
from grpo.engine.draw import draw, uniforms_for
from grpo.engine.logprob import completion_logps
from grpo.engine.model import load_policy, load_tokenizer
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, FP32, use_format
from grpo.engine.sampler import Sampling, generate
from grpo.minibatch import score

MANY_STOPS = (EOS, *range(10, 60))
LEAST_P = 1e-3


def chi_square_p(counts: Tensor, probabilities: Tensor) -> float:
    """Exact tail of the chi-square distribution for counts (V,) against probabilities (V,); cells expecting
    less than 5 are pooled.
    """
    expected = probabilities.double() * counts.sum()
    order = expected.argsort(descending=True)
    counts = counts.double()[order]
    expected = expected[order]
    big = int((expected >= 5).sum())
    cells = [
        torch.cat([x[:big], x[big:].sum()[None]]) if expected[big:].sum() > 0 else x[:big]
        for x in (counts, expected)
    ]
    statistic = ((cells[0] - cells[1]) ** 2 / cells[1]).sum()
    degrees = torch.tensor((len(cells[0]) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(degrees, statistic / 2))


def test_chi_square_tail_is_that_of_the_tables() -> None:
    """20 and 80 of 100 at a half: statistic 36 on 1 degree, p = 1.97e-9; 60 and 40: statistic 4, p =
    0.0455.
    """
    fair = torch.tensor([0.5, 0.5])
    assert chi_square_p(torch.tensor([20, 80]), fair) == pytest.approx(1.9732e-9, rel=1e-3)
    assert chi_square_p(torch.tensor([60, 40]), fair) == pytest.approx(0.04550, rel=1e-3)


@pytest.mark.parametrize(
    ("vocabulary", "temperature"), [(5, 1.0), (300, 0.5), (300, 0.8), (300, 1.0), (300, 1.3), (2500, 1.0)]
)
def test_draws_follow_the_softmax_at_every_temperature(temperature: float, vocabulary: int) -> None:
    """100,000 draws; a vocabulary within one block, one that ends inside its second, one of many blocks."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 2 * torch.randn(vocabulary, generator=generator)
    uniforms = torch.rand(100_000, generator=generator, dtype=torch.float64)
    tokens = torch.cat(
        [draw((logits / temperature).repeat(len(part), 1), part)[0] for part in uniforms.split(5000)]
    )
    probabilities = (logits.double() / temperature).softmax(0)
    assert chi_square_p(torch.bincount(tokens, minlength=vocabulary), probabilities) > LEAST_P
    wrong = (logits.double() / (temperature * 1.1)).softmax(0)
    assert chi_square_p(torch.bincount(tokens, minlength=vocabulary), wrong) < LEAST_P


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_generate_follows_the_models_softmax(tiny_model: PreTrainedModel, temperature: float) -> None:
    """25,000 completions of each of two prompts of different length, against the plain forward pass."""
    prompts = [PROMPTS[0], PROMPTS[1]]
    size = 25_000
    ids = generate(
        tiny_model, prompts, Sampling(size, 1, temperature, (EOS,)), seed=(3,)
    ).completion_ids.view(2, size)
    for prompt, drawn in zip(prompts, ids, strict=True):
        logits = tiny_model(input_ids=torch.tensor([prompt])).logits[0, -1].detach().double()
        assert chi_square_p(torch.bincount(drawn, minlength=259), (logits / temperature).softmax(0)) > LEAST_P


def test_neighbouring_rows_and_tokens_share_no_randomness() -> None:
    """Pairs of uniforms next to each other, over rows and over tokens, fill a 10 x 10 square evenly."""
    uniforms = uniforms_for((11, 5), range(4000), 4)
    even = torch.full((100,), 0.01)
    for first, second in ((uniforms[:-1], uniforms[1:]), (uniforms[:, :-1], uniforms[:, 1:])):
        cells = (first * 10).long() * 10 + (second * 10).long()
        assert chi_square_p(torch.bincount(cells.flatten(), minlength=100), even) > LEAST_P
    assert uniforms.unique().numel() == 16_000


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("name", "largest", "mean"),
    [("fp32", 1e-5, 1e-5), ("bf16x2", 2e-4, 1e-4), ("fp16", 0.004, 0.001), ("bf16", 0.03, 0.008)],
)
def test_recorded_logps_equal_teacher_forcing_in_every_format(
    make: Make, name: str, largest: float, mean: float, fast: bool
) -> None:
    model = make()
    use_format(model, FORMATS[name])
    use_blocks(model)
    rollout = generate(model, PROMPTS, Sampling(8, 16, 1.0, MANY_STOPS, fast), seed=(0, 0))
    with torch.no_grad():
        logps = completion_logps(model, pack(PROMPTS, rollout.completions(), 8, width=16)).logps
    assert rollout.lengths.unique().numel() > 4
    gap = (logps - rollout.sampling_logps)[rollout.completion_mask].abs()
    assert gap.max() < largest and gap.mean() < mean
    use_format(model, FP32)
    with torch.no_grad():
        exact = completion_logps(model, pack(PROMPTS, rollout.completions(), 8, width=16)).logps
    assert ((logps - exact).abs().max() > 1e-6) == (name != "fp32")  # else nothing was rounded


def later_policy(model: PreTrainedModel) -> PreTrainedModel:
    """The policy a few updates later."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.03 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
    return other


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.0, 1.3])
def test_expected_importance_ratio_is_one(temperature: float) -> None:
    """E[pi'(y)/pi(y)] over samples of pi is 1 within 3 standard errors, and is not for log-probabilities of
    another temperature.
    """
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight *= 3  # decided enough for a temperature to matter
    rollout = generate(model, PROMPTS * 8, Sampling(200, 3, temperature, ()), seed=(1,))
    later = score(later_policy(model), rollout, temperature, max_tokens=1200)

    def standard_errors(behaviour: Tensor) -> float:
        ratio = (later - behaviour).double().exp().flatten()
        return float((ratio.mean() - 1).abs() / (ratio.std() / ratio.numel() ** 0.5))

    assert standard_errors(rollout.sampling_logps) < 3
    assert standard_errors(score(model, rollout, temperature, max_tokens=1200)) < 3
    assert standard_errors(score(model, rollout, temperature * 1.1, max_tokens=1200)) > 3


@pytest.mark.parametrize(
    "setting", ["top_p = 0.9", "top_k = 50", "min_p = 0.1", "repetition_penalty = 1.2", "do_sample = false"]
)
def test_truncated_or_altered_sampling_cannot_be_asked_for(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"[rollout]\n{setting}\n", encoding="utf-8")
    name = setting.split()[0]
    with pytest.raises(
        InputError, match=rf"unknown key 'rollout\.{name}'; known keys here: num_prompts, group_size"
    ) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_sampling_settings_of_a_model_folder_are_not_inherited(tiny_folder: Path, tmp_path: Path) -> None:
    """The reported bug: near-greedy training because generation_config.json came with the weights."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    settings = {
        "do_sample": True,
        "top_k": 1,
        "top_p": 0.1,
        "temperature": 0.01,
        "repetition_penalty": 9.0,
        "eos_token_id": [5, 6, 7],
    }
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    policies = [load_policy(place, torch.device("cpu")) for place in (tiny_folder, folder)]
    assert policies[1].generation_config.top_k == 1
    plain, other = (generate(policy, PROMPTS, Sampling(16, 8, 1.0, (EOS,)), seed=(4,)) for policy in policies)
    assert torch.equal(plain.completion_ids, other.completion_ids) and torch.equal(
        plain.sampling_logps, other.sampling_logps
    )


def test_no_token_is_out_of_reach(tiny_model: PreTrainedModel) -> None:
    """Draws beyond the 50 likeliest come as often as the full softmax says: nothing is cut off and
    renormalised.
    """
    size = 20_000
    drawn = generate(tiny_model, PROMPTS[2:], Sampling(size, 1, 1.3, (EOS,)), seed=(8,))
    logits = tiny_model(input_ids=torch.tensor(PROMPTS[2:])).logits[0, -1].detach().double() / 1.3
    tail = logits.argsort(descending=True)[50:]
    share = float(torch.isin(drawn.completion_ids, tail).double().mean())
    expected = float(logits.softmax(0)[tail].sum())
    assert expected > 0.02
    assert abs(share - expected) < 4 * (expected * (1 - expected) / size) ** 0.5


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "mean", "largest"), [("bf16x2", 0.0005, 0.0125), ("fp16", 0.002, 0.05), ("bf16", 0.02, 0.3)]
)
def test_gap_of_the_default_model(name: str, mean: float, largest: float) -> None:
    """Some 250 tokens at temperature 1; docs/precision.md has more of them."""
    folder = cache_dir() / "models" / "gemma-3-270m-trimmed"
    if not folder.is_dir():
        pytest.skip("the default model is not in the cache; run `make sft` first")
    model = load_policy(folder, torch.device("cpu"), format=FORMATS[name])
    tokenizer = load_tokenizer(folder)
    prompts = [tokenizer(text)["input_ids"] for text in ("File not found\nTranslation:", "Open the window")]
    rollout = generate(model, prompts, Sampling(8, 16, 1.0, (1,)), seed=(0, 0))
    gap = (score(model, rollout, 1.0, 2048) - rollout.sampling_logps)[rollout.completion_mask].abs()
    assert 0 < gap.mean() < mean and gap.max() < largest
