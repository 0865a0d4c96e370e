"""Learning rates by depth: which parameters are lower ones, that each moves by its own rate in every optimiser, and that
those without a rate take no gradient and no memory and leave the others' gradients as they were.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_object import config_of
from safetensors.torch import load_file
from tiny import Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_hooks import save_and_stop_at
from tiny_layers import FREE, MODES, SGD, STEPS, backward, split_layers
from tiny_run import Command, assert_same_run
from tiny_team import start_team
from torch import Tensor, nn

from data.errors import InputError
from grpo.config import OptimConfig
from grpo.engine.halves import ExactParameters
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy
from grpo.engine.model_kl import kl_to_base
from grpo.engine.packing import Packed, pack
from grpo.layer_rates import lower_parameters, rate_shares
from grpo.optim import Optimizer
from grpo.run import main


def packed_row() -> Packed:
    return pack([[2, 40, 41], [2, 42]], [[50, 51, 1], [52, 1], [53, 54], [1]], 2)


@pytest.mark.parametrize(
    ("make", "layer", "embeddings"),
    [
        (tiny_gemma, "model.layers.0.", {"model.embed_tokens.weight"}),
        (tiny_llama, "model.layers.0.", {"model.embed_tokens.weight"}),
        (tiny_gpt2, "transformer.h.0.", {"transformer.wte.weight", "transformer.wpe.weight"}),
    ],
)
def test_embeddings_and_the_lower_third_are_lower(make: Make, layer: str, embeddings: set[str]) -> None:
    model = make()
    names = [name for name, _ in model.named_parameters()]
    assert lower_parameters(model) == {name for name in names if name.startswith(layer)} | embeddings
    shares = rate_shares(model, OptimConfig(lower_lr_share=0.5))
    assert [*shares] == names and {shares[name] for name in embeddings} == {0.5}
    assert shares[names[-1]] == 1.0 and not embeddings & {names[-1]}
    assert set(rate_shares(model, OptimConfig()).values()) == {1.0}


class Layered(nn.Module):
    """An embedding and four layers of which two are a third, rounded up."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Embedding(64, 64), *(nn.Linear(64, 64) for _ in range(4))])
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).add(0.1 * place).view_as(parameter))


@pytest.mark.parametrize("mode", MODES)
def test_each_parameter_moves_by_its_own_rate(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all had the rate, or all a quarter of it: the bits of three updates; the pull behind a step has it too."""
    monkeypatch.setattr("grpo.layer_rates.layers_of", lambda model: [*model.parts[1:]])
    config, engine = MODES[mode]
    config = replace(config, max_grad_norm=0.0)
    rates: dict[str, set[float]] = {}

    def trained(config: OptimConfig) -> dict[str, Tensor]:
        model = Layered()
        if engine.weights == "split":
            split_layers(model)
        rates.clear()
        optimizer = Optimizer(model, config, STEPS, engine, lambda name, _, rate: note(rates, name, rate))
        for step in range(3):
            backward(model, step)
            optimizer.step()
        return {name: value.clone() for name, value in ExactParameters(model).items()}

    whole = trained(config)
    expected = dict(rates)
    quarter = trained(replace(config, lr=config.lr / 4))
    mixed = trained(replace(config, lower_lr_share=0.25))
    lower = lower_parameters(Layered())
    assert len(lower) == 1 + 2 * 2
    for name, value in mixed.items():
        same, other = (quarter, whole) if name in lower else (whole, quarter)
        assert torch.equal(value, same[name]) and not torch.equal(value, other[name])
        assert rates[name] == {rate * (0.25 if name in lower else 1.0) for rate in expected[name]}


def note(rates: dict[str, set[float]], name: str, rate: float) -> None:
    rates.setdefault(name, set()).add(rate)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("config", [FREE, SGD], ids=["adamw", "sgd"])
def test_without_a_rate_they_take_no_gradient_and_no_moments(make: Make, config: OptimConfig) -> None:
    """The gradients of the others keep every bit, of a tied head and of one of its own, in both losses of a head."""
    model, plain = make(), make()
    optimizer = Optimizer(model, replace(config, lower_lr_share=0.0), STEPS)
    lower = lower_parameters(plain)
    before = {name: value.clone() for name, value in ExactParameters(model).items()}
    base = frozen_copy(plain)
    for each in (model, plain):
        nn.init.normal_(
            next(p for name, p in each.named_parameters() if "layers.1" in name), generator=seeded()
        )
        loss = -completion_logps(each, packed_row()).logps.sum() + kl_to_base(each, base, packed_row())
        loss.backward()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert other.grad is not None
        assert one.grad is None if name in lower else torch.equal(one.grad, other.grad)
    optimizer.step()
    assert set(optimizer.moments()) == set(before) - lower
    still = {name for name, value in ExactParameters(model).items() if torch.equal(value, before[name])}
    assert still == lower


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture
def command(command: Command, own_cache: None) -> Command:
    shares = ["sft.optim.lower_lr_share=0.0", "train.optim.lower_lr_share=0.5", "train.optim.name=sgd"]
    return lambda name, *settings: command(name, *shares, *settings)


def test_a_stopped_run_ends_in_the_same_bits(
    command: Command, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command("whole")) == 0
    save_and_stop_at(monkeypatch, ("sft", 2), ("train", 1))
    assert [main(command("parts")) != 0 for _ in range(3)] == [True, True, False]
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert_same_run(parts, whole)
    start, warm = (load_file(one / "model.safetensors") for one in (tiny_folder, whole / "warm_start"))
    policy = load_file(whole / "policy/model.safetensors")
    lower = lower_parameters(tiny_gemma())
    assert {name for name in start if torch.equal(start[name], warm[name])} == lower
    assert {name for name in start if torch.equal(warm[name], policy[name])} == set()


@pytest.mark.slow
def test_two_processes_train_what_one_does(command: Command, tmp_path: Path) -> None:
    settings = ["train.optim.lower_lr_share=0.0", "train.optim.name=adamw", "anchor.train=0"]
    assert main(command("one", *settings)) == 0
    assert [code for code, _ in start_team(command("two", *settings), 2).ends()] == [0, 0]
    one, two = (load_file(tmp_path / name / "run/policy/model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_shares_of_a_model_cannot_stay_still(tmp_path: Path) -> None:
    config_of(tmp_path, ["parallel.mode=fsdp", "train.optim.lower_lr_share=0.1"])
    with pytest.raises(InputError, match=r"train\.optim\.lower_lr_share = 0 .* parallel\.mode='data'"):
        config_of(tmp_path, ["parallel.mode=fsdp", "train.optim.lower_lr_share=0"])
