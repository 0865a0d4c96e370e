"""The shield: which columns by hand, what a layer is given, and columns that no optimiser moves by a bit."""

import pytest
import torch
from tiny import tiny_gpt2, tiny_llama
from tiny_layers import MODES, STEPS, backward, layers, split_layers, trained, values

from grpo.engine.halves import ExactParameters
from grpo.engine.packing import pack
from grpo.optim import Optimizer
from grpo.shield import Shield, important_columns, input_squares, linear_layers, make_shield

START = [2]
TEXTS = [[40, 41, 42, 43], [100, 7], [9]]


@pytest.mark.parametrize(
    ("squares", "columns"),
    [
        ([1.0, 1.0, 1.0, 1.0], [0, 3]),  # sums of |w|: 5, 3, 1, 4
        ([1.0, 4.0, 0.0, 1.0], [0, 1]),  # 5, 6, 0, 4
        ([0.0, 1.0, 100.0, 0.5], [1, 2]),  # 0, 3, 10, 2.8
        ([0.0, 0.0, 0.0, 0.0], [0, 1]),  # of equal ones the first
    ],
)
def test_important_columns_by_hand(squares: list[float], columns: list[int]) -> None:
    weight = torch.tensor([[2.0, -3.0, 0.5, 0.0], [-3.0, 0.0, 0.5, 4.0]])
    assert important_columns(weight, torch.tensor(squares, dtype=torch.float64)).tolist() == columns
    odd = important_columns(weight[:, :3], torch.ones(3, dtype=torch.float64))
    assert odd.tolist() == [0]


def test_squares_are_those_of_what_a_layer_is_given() -> None:
    """The first layer of a llama reads its normed embeddings; the last token of a text is only predicted. Two passes are
    one."""
    model = tiny_llama()
    name = "model.layers.0.self_attn.k_proj.weight"
    rows = [pack([START] * 2, TEXTS[:2], 1), pack([START], TEXTS[2:], 1)]
    found = input_squares(model, rows)
    tokens = [token for text in TEXTS for token in (*START, *text[:-1])]
    embedding = model.get_input_embeddings().weight[tokens]
    expected = model.model.layers[0].input_layernorm(embedding).double().square().sum(0)
    torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-9)
    whole = input_squares(model, [pack([START] * 3, TEXTS, 1)])
    assert found.keys() == whole.keys() and len(found) == 2 * 7
    for key in found:
        torch.testing.assert_close(found[key], whole[key], rtol=1e-4, atol=1e-9)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_embedding_and_head_are_free() -> None:
    names = linear_layers(tiny_llama()).keys()
    assert all(".layers." in name for name in names) and not any("head" in name for name in names)
    assert linear_layers(tiny_gpt2()) == {}  # its matrices are of another kind


def test_a_shield_keeps_half_of_a_matrix() -> None:
    model = tiny_llama()
    shield = make_shield(model, input_squares(model, [pack([START] * 3, TEXTS, 1)]))
    exact = ExactParameters(model)
    for name, columns in shield.columns.items():
        assert len(columns) == exact[name].shape[1] // 2
        assert torch.equal(shield.values[name], exact[name][:, columns])


@pytest.mark.parametrize("mode", MODES)
def test_columns_keep_every_bit_and_all_others_move_as_ever(mode: str) -> None:
    """With weight decay, in every memory mode of the optimiser."""
    config, engine = MODES[mode]
    assert config.weight_decay
    model = layers()
    start = dict(zip(dict(model.named_parameters()), values(model), strict=True))
    columns = torch.tensor([0, 3, 5, 63])
    if engine.weights == "split":
        split_layers(model)
    shield = Shield({"0.weight": columns}, {"0.weight": start["0.weight"][:, columns]})
    optimizer = Optimizer(model, config, STEPS, engine, shield)
    for step in range(4):
        backward(model, step)
        optimizer.step()
    free = ExactParameters(trained(mode, range(4))[0])
    is_free = torch.ones(64, dtype=torch.bool)
    is_free[columns] = False
    for name, value in ExactParameters(model).items():
        expected = free[name].clone()
        if name == "0.weight":
            assert (free[name] != start[name])[:, columns].any(dim=0).all()
            expected[:, columns] = start[name][:, columns]
        assert torch.equal(value.view(torch.int32), expected.view(torch.int32))
