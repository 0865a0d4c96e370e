"""The bill of a run by hand, and the check that refuses a model which cannot be packed."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from invented_bill import CONFIG
from tiny import Make, byte_tokenizer, tiny_gemma, tiny_llama
from transformers import PreTrainedModel

from data.config import DataConfig
from data.corpora_config import CorpusConfig
from data.errors import InputError
from grpo.config import (
    AnchorConfig,
    Config,
    EngineConfig,
    ProtectionConfig,
    ReplayConfig,
    TokenLossConfig,
    TrainConfig,
)
from grpo.engine.extended import extend
from grpo.engine.packing import Packed
from grpo.engine.self_check import check_packing
from grpo.runtime import device
from grpo.stages.duration import model_sizes, stage_flops
from grpo.stages.plan import corpus_pairs, make_plan


def flops_of(config: Config) -> tuple[float, float]:
    return stage_flops(config, model_sizes(config, None))


def test_counts_follow_from_the_medians_of_the_corpus(tmp_path: Path) -> None:
    tokens = {"prompt_tokens": {"p50": 30}, "completion_tokens": {"p50": 6}}
    (tmp_path / "corpus.json").write_text(json.dumps({"tokens": tokens}), encoding="utf-8")
    plan = make_plan(replace(CONFIG, run_dir=str(tmp_path)), None, device.choose("cpu"))
    assert plan.sft_tokens == 10 * 4 * 36
    assert plan.rollout_tokens == 5 * 32 * 6
    assert plan.update_tokens == 5 * (4 * 30 + 32 * 6)


def test_sharing_the_prompt_saves_what_it_should(tmp_path: Path) -> None:
    """Limits 100 and 50 at a share of 0.4: 4 prompts x 40 + 32 x 20 tokens a step against 32 x 60."""
    shared = make_plan(replace(CONFIG, run_dir=str(tmp_path)), None, device.choose("cpu"))
    apart = make_plan(
        replace(CONFIG, run_dir=str(tmp_path), engine=EngineConfig(share_prefix=False)),
        None,
        device.choose("cpu"),
    )
    assert (shared.update_tokens, apart.update_tokens) == (5 * 800, 5 * 1920)


def test_imitation_costs_what_it_does_and_no_more(tmp_path: Path) -> None:
    """Bodies of 100M and heads of 31M: 6 x (body x (40 + 20) + head x 20) a pair; sampling 2 x 131M a token
    and 2 x 100M a prompt token.
    """
    plans = {}
    flops = {}
    for method in ("grpo", "sft", "best_of_group"):
        config = replace(CONFIG, run_dir=str(tmp_path), train=TrainConfig(num_steps=5, method=method))
        plans[method] = make_plan(config, None, device.choose("cpu"))
        flops[method] = flops_of(config)
    pair = 6 * (100e6 * 60 + 31e6 * 20)
    sampling = 2 * 131e6 * 32 * 20 + 2 * 100e6 * 4 * 40
    assert flops["sft"] == (pytest.approx(10 * 4 * pair), pytest.approx(5 * 4 * pair))
    assert flops["best_of_group"][1] == pytest.approx(5 * (sampling + 4 * pair))
    assert flops["grpo"][1] == pytest.approx(5 * (sampling + 2 * 4 * (100e6 * 800 + 31e6 * 640)))
    tokens = {method: (plan.rollout_tokens, plan.update_tokens) for method, plan in plans.items()}
    assert tokens == {"grpo": (5 * 640, 5 * 800), "sft": (0, 5 * 240), "best_of_group": (5 * 640, 5 * 240)}


def test_an_anchor_on_earlier_tasks_reads_their_pairs_whole(tmp_path: Path) -> None:
    """By hand: a quarter of 64 tokens and three quarters of 200 + 50, of which 2 an update; 10 updates."""
    earlier = tmp_path / "earlier"
    (earlier / "policy").mkdir(parents=True)
    (earlier / "config.json").write_text('{"run_dir": "earlier"}')
    tokens = {"prompt_tokens": {"p50": 200}, "completion_tokens": {"p50": 50}}
    (earlier / "corpus.json").write_text(json.dumps({"tokens": tokens}))
    without = replace(CONFIG, run_dir=str(tmp_path), model=replace(CONFIG.model, policy=f"{earlier}/policy"))
    anchor = AnchorConfig(sft=1.0, batch_size=2, sources={"news": 1.0, "earlier_tasks": 3.0})
    more = flops_of(replace(without, anchor=anchor))[0] - flops_of(without)[0]
    assert more == pytest.approx(10 * 2 * 8 * 131e6 * (16 + 187.5))


def test_an_anchor_costs_a_pass_of_both_models_an_update(tmp_path: Path) -> None:
    """2 texts of 64 tokens, 8 x 131M operations each: 10 updates of the warm start, 5 steps of 2 updates; a
    second frozen model.
    """
    two = replace(CONFIG, run_dir=str(tmp_path), train=TrainConfig(num_steps=5, prompts_per_update=2))
    both = replace(two, anchor=AnchorConfig(sft=1.0, train=0.5, batch_size=2))
    once = replace(two, anchor=replace(both.anchor, train=0.0))
    assert flops_of(once) == (
        flops_of(both)[0],
        flops_of(two)[1],
    )
    more = [b - a for a, b in zip(flops_of(two), flops_of(both), strict=True)]
    assert more == [pytest.approx(10 * 8 * 131e6 * 128), pytest.approx(5 * 2 * 8 * 131e6 * 128)]
    plans = [make_plan(config, None, device.choose("cpu")) for config in (two, both)]
    assert plans[1].memory_bytes - plans[0].memory_bytes == 4 * 131_000_000


def test_rivals_against_forgetting_by_hand(tmp_path: Path) -> None:
    """A pair has 40 + 20 tokens, with a fifth replayed 40 + 25; ASFT runs the base forward and the head once more; a
    protection reads 10 texts of 64 tokens once.
    """
    plain = replace(CONFIG, run_dir=str(tmp_path), train=TrainConfig(num_steps=5, method="sft"))
    body, head = 100e6, 31e6
    replay = replace(plain, replay=ReplayConfig(train=0.2))
    assert flops_of(replay)[1] == pytest.approx(5 * 4 * 6 * (body * 65 + head * 25))
    asft = replace(plain, token_loss=TokenLossConfig(train="asft"))
    extra = 5 * 4 * (2 * (body * 60 + head * 20) + 6 * head * 20)
    assert flops_of(asft)[1] - flops_of(plain)[1] == pytest.approx(extra)
    for kind, flops, stored in (
        ("shield", 2 * body, 2 * 100e6),
        ("l2", 0, 4 * 131e6),
        ("ewc", 6 * 131e6, 8 * 131e6),
    ):
        config = replace(plain, protection=ProtectionConfig(sft=kind, texts=10))  # type: ignore[arg-type]
        more = flops_of(config)[0] - flops_of(plain)[0]
        assert more == pytest.approx(640 * flops, abs=1)
        plans = [make_plan(one, None, device.choose("cpu")).training_bytes for one in (plain, config)]
        assert plans[1] - plans[0] == pytest.approx(stored, abs=2)


def test_memory_of_training_by_hand(tmp_path: Path) -> None:
    """131M parameters of 4 + 4 + 8 + 4 bytes, a process of 1 GB, and 34 fp32 numbers x 1,000 tokens x (layers x
    width), which is (36 x 100M / 12) ** 0.5 = 17,320.5.
    """
    train = TrainConfig(num_steps=5, max_tokens_per_pass=1000)
    config = replace(
        CONFIG, run_dir=str(tmp_path), train=train, sft=replace(CONFIG.sft, max_tokens_per_pass=500),
        data=DataConfig(corpus="none.tsv"),
    )  # fmt: skip
    activations = 34 * 4 * 1000 * 17_320.508
    bill = make_plan(config, None, device.choose("cpu"))
    assert bill.training_bytes == pytest.approx(131e6 * 20 + 1e9 + activations, rel=1e-8)
    fewer = replace(config, engine=EngineConfig(gradient_checkpointing=True))
    saved = bill.training_bytes - make_plan(fewer, None, device.choose("cpu")).training_bytes
    assert saved == pytest.approx(0.8 * activations, rel=1e-7)


def test_memory_counts_the_pairs_of_the_corpus(tmp_path: Path) -> None:
    """120 bytes a pair, in training as in the evaluation: texts, token ids and the translation memory's index are on
    disk.
    """
    corpus = tmp_path / "pairs.tsv"
    corpus.write_text("source\treference\n" * 1000, encoding="utf-8")
    with gzip.open(tmp_path / "pairs.tsv.gz", "wb") as file:
        file.write(corpus.read_bytes() * 3)
    bills = {}
    for name in ("tibetan", "none.tsv", str(corpus), f"{corpus},{corpus}", f"{corpus}.gz"):
        config = replace(CONFIG, run_dir=str(tmp_path), data=DataConfig(corpus=name))
        bills[name] = make_plan(config, None, device.choose("cpu"))
    assert [bill.pairs for bill in bills.values()] == [0, 0, 1000, 1000, 3000]
    none = bills["tibetan"]
    some = bills[f"{corpus}.gz"]
    assert some.training_bytes - none.training_bytes == 3000 * 120
    assert some.evaluation_bytes - none.evaluation_bytes == 3000 * 120
    assert (
        some.memory_bytes == some.training_bytes
        and "evaluation 1.5 GB of 3,000 pairs" in some.lines(CONFIG)[4]
    )
    splits = {"warm_start": {"pairs": 4000}, "train": {"pairs": 8000}, "test": {"pairs": 10}}
    (tmp_path / "corpus.json").write_text(json.dumps({"manifest": {"splits": splits}}), encoding="utf-8")
    assert corpus_pairs(replace(CONFIG, run_dir=str(tmp_path), data=DataConfig(corpus=str(corpus)))) == 12_000


def test_ten_million_pairs_of_long_texts_add_little_to_either_peak(tmp_path: Path) -> None:
    """Sources of 2,000 tokens: 131M parameters in fp32, a process of 1 GB, 120 bytes a pair, 16 x 2,000 x 500 of
    resamples.
    """
    tokens = {"prompt_tokens": {"p50": 2000}, "completion_tokens": {"p50": 6}}
    facts = {"tokens": tokens, "manifest": {"splits": {"train": {"pairs": 10_000_000}}}}
    (tmp_path / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")
    bill = make_plan(replace(CONFIG, run_dir=str(tmp_path)), None, device.choose("cpu"))
    assert bill.evaluation_bytes == pytest.approx(4 * 131e6 + 1e9 + 1.2e9 + 16 * 2000 * 500)
    assert bill.memory_bytes == bill.training_bytes > bill.evaluation_bytes


def test_each_of_several_corpora_has_test_items(tmp_path: Path) -> None:
    """2000 resamples of 500 items a corpus, 16 bytes each."""
    data = DataConfig(corpora={name: CorpusConfig(train=str(tmp_path / name)) for name in "abc"})
    bills = [
        make_plan(replace(CONFIG, run_dir=str(tmp_path), data=own), None, device.choose("cpu"))
        for own in (DataConfig(), data)
    ]
    assert bills[1].evaluation_bytes - bills[0].evaluation_bytes == pytest.approx(16 * 2000 * 2 * 500)


def test_parameters_are_read_from_the_folder(tiny_folder: Path) -> None:
    model = tiny_gemma()
    sizes = model_sizes(CONFIG, tiny_folder)
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert sizes.embedding == model.get_output_embeddings().weight.numel()


@pytest.mark.parametrize(("make", "spare", "grown"), [(tiny_gemma, 0, 9), (tiny_llama, 5, 4)])
def test_new_pieces_are_billed_as_the_longer_model_is(
    make: Callable[..., PreTrainedModel], spare: int, grown: int, tmp_path: Path
) -> None:
    """Beside a tied head and one of its own; five rows that have no token are filled first."""
    folder = tmp_path / "base"
    tokens = len(byte_tokenizer())
    make(vocabulary=tokens + spare).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    extend(folder, tmp_path / "longer", ["ཀ་ཁ་ག་ང་ཅ་ཆ"] * 9, 9)
    config = replace(CONFIG, model=replace(CONFIG.model, add_pieces=9), run_dir=str(tmp_path))
    sizes = model_sizes(config, folder)
    assert sizes == model_sizes(CONFIG, tmp_path / "longer")
    assert sizes.vocabulary == tokens + spare + grown == tokens + 9
    bills = [
        make_plan(config, folder, device.choose("cpu")),
        make_plan(replace(CONFIG, run_dir=str(tmp_path)), tmp_path / "longer", device.choose("cpu")),
    ]
    assert len({(bill.parameters, bill.flops, bill.memory_bytes) for bill in bills}) == 1


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_ordinary_attention_passes(make: Make) -> None:
    assert check_packing(make()) < 1e-5


def test_attention_that_ignores_the_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that only ever looks backwards would let the completions of a group see each other."""

    def causal_only(packed: Packed, window: int | None = None) -> torch.Tensor:
        size = packed.input_ids.shape[1]
        return torch.ones(size, size, dtype=torch.bool).tril()[None, None]

    monkeypatch.setattr("grpo.engine.forward.visible", causal_only)
    with pytest.raises(InputError, match="packed rows differ from plain ones"):
        check_packing(tiny_llama())
