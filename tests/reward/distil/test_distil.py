"""From pairs to a finished student: nothing that RL judges is learnt from, the same seed gives the same
weights, bad input one sentence.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from invented_tibetan import LetterTeacher, invented_item, invented_items
from ngram_sets import ngrams
from repository import CONFIGS, ROOT

from data.errors import InputError
from data.examples import Example
from reward.distil import __main__ as distil
from reward.distil.config import read_config, read_data_section
from reward.distil.corpus import Item, cluster_labels, hold_out, items, separate, texts_of
from reward.distil.figures import attack_cosines, figures, nearest_pairs, two_renderings
from reward.distil.training import TrainingConfig, distillation_loss, drop_features, train_student
from reward.encoders import student
from reward.encoders.features import bags
from reward.encoders.student import Student


def quiet(line: str) -> None:
    """Swallow a line of progress."""


def rl_example(item: Item, *, reverse: bool = False) -> Example:
    sides = (item.chinese[0], item.text) if reverse else (item.text, item.chinese[0])
    languages = ("zh", item.language) if reverse else (item.language, "zh")
    return Example("rl", *sides, "invented", "nobody's", *languages)


def alike(one: str, other: str, size: int) -> float:
    """Jaccard similarity, plainly."""
    a = ngrams(one, size)
    b = ngrams(other, size)
    return len(a & b) / len(a | b)


# -- separation


@pytest.mark.parametrize("reverse", [False, True])
def test_no_text_near_an_rl_text_is_learnt_from(reverse: bool) -> None:
    """Against every pair of texts, plainly compared: no prompt and no reference text has a near twin on either side."""
    pool = invented_items(60, seed=4)
    meanings = [[i, i + 1, i + 2, i + 3, i + 40, i + 50, i + 60] for i in range(0, 80, 5)]
    # one word of seven differs
    variants = [invented_item([*meaning[:6], meaning[6] + 1]) for meaning in meanings]
    kept_out = [rl_example(invented_item(meaning), reverse=reverse) for meaning in meanings]
    result = separate([*pool, *variants], kept_out, 0.7)
    learnt = [item for cluster in result.clusters for item in cluster]
    assert result.num_dropped + len(learnt) == 60 + len(variants)
    assert result.num_dropped >= len(variants)
    for example in kept_out:
        for _, text in texts_of(example):
            for item in learnt:
                assert all(
                    alike(text, other, 2 if language == "zh" else 4) < 0.7 for language, other in item.texts
                )


def test_separation_follows_chains_and_both_sides() -> None:
    """RL prompt ~ a (same Chinese), a ~ b (same English): b goes too, though nothing of it resembles the prompt."""
    prompt, a, b, other = (
        invented_item([number, number + 1, number + 2, number + 3]) for number in (1, 21, 41, 61)
    )
    a = Item(a.text, "bo", prompt.chinese, a.english, "x", "x")
    b = Item(b.text, "dz", b.chinese, a.english, "x", "x")
    result = separate([a, b, other], [rl_example(prompt)], 0.7)
    assert [item for cluster in result.clusters for item in cluster] == [other]
    assert result.num_dropped == 2


def test_a_headline_task_bars_both_its_tibetan_sides() -> None:
    body, heading, free = (invented_item([number, number + 1, number + 2]) for number in (1, 21, 41))
    task = Example("rl", body.text, heading.text, "x", "x", "dz", "dz", "headline")
    assert separate([body, heading, free], [task], 0.7).clusters == ((free,),)


def test_further_reference_texts_are_barred_too() -> None:
    one, other, free = (invented_item([number, number + 1, number + 2]) for number in (1, 21, 41))
    example = Example("rl", one.text, one.chinese[0], "x", "x", "dz", "zh", "mt", other.chinese)
    assert separate([other, free], [example], 0.7).clusters == ((free,),)


def test_held_out_clusters_share_nothing_with_training() -> None:
    pool = invented_items(300, seed=5)
    result = separate(pool, [], 0.7)
    train, held_out = hold_out(result.clusters, 50, seed=0)
    assert sum(map(len, held_out)) == 50
    assert len(train) == 250
    labels = dict(
        zip((item.text for item in pool), cluster_labels([item.texts for item in pool], 0.7), strict=True)
    )
    assert not {labels[item.text] for item in train} & {
        labels[item.text] for cluster in held_out for item in cluster
    }
    assert hold_out(result.clusters, 50, seed=0) == (train, held_out)
    assert hold_out(result.clusters, 50, seed=1)[0] != train


def test_a_small_corpus_holds_out_a_fifth() -> None:
    train, held_out = hold_out([(item,) for item in invented_items(50, seed=6)], 2000, seed=0)
    assert (len(train), len(held_out)) == (40, 10)


def test_examples_of_one_text_become_one_item() -> None:
    example = Example("a:1", "ཀ་ཁ", "天", "a", "MIT", "dz", "zh", "mt", ("地",))
    again = Example("b:1", "ཀ་ཁ", "sky", "b", "GPL", "dz", "en")
    tibetan = Example("c:1", "ཀ་ཁ", "天", "c", "GPL", "bo", "zh")
    result = items([example, again, tibetan])
    assert result == [
        Item("ཀ་ཁ", "dz", ("天", "地"), ("sky",), "a", "MIT"),
        Item("ཀ་ཁ", "bo", ("天",), (), "c", "GPL"),
    ]


# -- training


def test_loss_by_hand() -> None:
    """Two orthogonal targets, met exactly: only the contrast is left, log(1 + e^(-1/t)) for each row, twice."""
    config = TrainingConfig(temperature=0.5, contrast_weight=0.25, variant_weight=0)
    contrast = torch.log1p(torch.tensor(-2.0).exp())
    rows = torch.eye(2)
    assert distillation_loss(rows, rows, None, config).item() == pytest.approx(
        0.25 * 2 * contrast.item(), rel=1e-5
    )
    assert distillation_loss(rows.flip(0), rows, None, config).item() == pytest.approx(
        1 + 0.25 * 2 * (2 + contrast.item()), rel=1e-5
    )


def test_a_wrong_variant_as_near_as_the_text_costs_the_margin() -> None:
    config = TrainingConfig(contrast_weight=0, variant_weight=2, variant_margin=0.15)
    rows = torch.eye(2)
    assert distillation_loss(rows, rows, rows, config).item() == pytest.approx(2 * (0.15 + 0.3), rel=1e-5)
    assert distillation_loss(rows, rows, -rows, config).item() == pytest.approx(0, abs=1e-6)


def test_rows_of_one_meaning_are_no_distractors() -> None:
    config = TrainingConfig(variant_weight=0)
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert distillation_loss(same, same, None, config).item() == pytest.approx(0, abs=1e-6)


def test_dropout_leaves_out_the_wanted_share_and_never_a_whole_bag() -> None:
    batch = bags([["ཀ", "ཁ", "ག", "ང"] * 20, [], ["ཅ"]])
    ids, lengths = drop_features(batch, 0.5, torch.Generator().manual_seed(0))
    assert len(ids) == lengths.sum()
    assert lengths.min() >= 1
    assert len(ids) / len(batch.ids) == pytest.approx(0.5, abs=0.08)
    whole = drop_features(batch, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(whole[0], batch.tensors()[0])


def trained_student(seed: int, epochs: int = 25) -> Student:
    pool = invented_items(400, seed=7)
    targets = LetterTeacher().encode([item.chinese[0] for item in pool])
    model = Student(24, 48, torch.Generator().manual_seed(seed))
    train_student(
        model,
        [item.text for item in pool],
        targets,
        TrainingConfig(epochs=epochs, batch_size=64),
        seed,
        quiet,
    )
    return model


def test_a_student_learns_what_its_teacher_means() -> None:
    """Texts never seen, of words that were: far from chance."""
    fresh = [(item,) for item in invented_items(100, seed=8)]
    teacher = LetterTeacher()
    model = trained_student(0)
    blank = Student(24, 48, torch.Generator().manual_seed(0)).eval()
    learnt = figures(model.rows, teacher.encode, fresh, [])
    untrained = figures(blank.rows, teacher.encode, fresh, [])
    assert learnt["to Chinese"].auc > 0.9
    assert abs(untrained["to Chinese"].auc - 0.5) < 0.15


def test_same_seed_same_student() -> None:
    one = trained_student(1, epochs=2)
    other = trained_student(1, epochs=2)
    third = trained_student(2, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.outer.weight, third.outer.weight)


# -- figures


def test_two_renderings_share_a_text_and_are_not_equal() -> None:
    a, b, c = (
        Item(text, "dz", (), (english,), "x", "x")
        for text, english in (("ཀ", "one"), ("ཁ", "one"), ("ག", "two"))
    )
    assert two_renderings([(a, b, c), (c,), (a, a)]) == [("ཀ", "ཁ")]


def test_nearest_pairs_use_each_text_once_and_skip_equals() -> None:
    """The bug this prevents: a query that meets itself among the answers, as the neighbour of its neighbour."""
    angles = torch.tensor([0.0, 0.3, 0.7, 0.701, 3.0])
    meanings = torch.stack([angles.cos(), angles.sin()], dim=1)
    # c and d mean the same; b is taken when c asks for it
    assert nearest_pairs(list("abcde"), meanings) == [("a", "b")]


def test_figures_of_a_perfect_encoder() -> None:
    pool = invented_items(40, seed=9)
    teacher = LetterTeacher()
    chinese = {item.text: item.chinese[0] for item in pool}
    examples = [rl_example(item, reverse=number % 2 == 0) for number, item in enumerate(pool)]
    result = figures(
        lambda texts: teacher.encode([chinese[text] for text in texts]),
        teacher.encode,
        [(item,) for item in pool],
        examples,
    )
    assert (
        result["to Chinese"].top1
        == result["to Chinese"].auc
        == result["RL dev and test, to Chinese"].auc
        == 1.0
    )
    assert result["RL dev and test, to Chinese"].n == result["to English"].n == 40
    assert result["to English"].auc < 0.7  # the letter teacher knows no two languages


def test_attacks_see_what_an_encoder_sees() -> None:
    """An encoder that counts syllables alone: shuffling and repeating are invisible to it, halving and
    strangers are not.
    """
    texts = [item.text for item in invented_items(60, seed=10)]
    teacher = LetterTeacher()
    result = attack_cosines(lambda some: teacher.encode([text.replace("་", " ") for text in some]), texts)
    assert result["shuffled"] == pytest.approx(1, abs=1e-5)
    assert result["three times"] == pytest.approx(1, abs=1e-5)
    assert 0.4 < result["first half"] < 0.9 < result["negation changed"] < 0.99
    assert abs(result["unrelated"]) < 0.15
    assert "number changed" not in result  # no text has one
    assert attack_cosines(teacher.encode, ["ཀ"]) == {}


# -- the command


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up packages, teacher and RL configuration; returns the configuration file."""
    pool = invented_items(300, seed=11)
    monkeypatch.setattr(distil, "read_items", lambda archives, cache, max_units: pool)
    monkeypatch.setattr(distil.package_corpus, "obtain", lambda name, origins, cache, say: ({}, {}))
    monkeypatch.setattr(distil.english, "obtain", lambda built_in, cache, say: {})
    monkeypatch.setattr(distil, "load_use", lambda device: LetterTeacher())
    monkeypatch.setattr(student, "load_use", lambda device: LetterTeacher())
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    corpus = tmp_path / "rl.tsv"
    corpus.write_text("".join(f"{item.text}\t{item.chinese[0]}\n" for item in pool[:60]), encoding="utf-8")
    rl = tmp_path / "rl.toml"
    sizes = "test_size = 10\ndev_size = 5\nmax_target_units = 60"
    rl.write_text(f'run_dir = "x"\n[data]\ncorpus = "{corpus}"\nsource_language = "dz"\n{sizes}\n')
    config = tmp_path / "encoder.toml"
    config.write_text(
        f'[pairs]\nkeep_out = ["{rl}"]\nheld_out = 40\n[student]\nwidth = 8\nhidden = 16\n[training]\nepochs = 2\nbatch_size = 32\n'
    )
    return config


def test_the_command_makes_a_student_once(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distil.main(["--config", str(workplace)]) == 0
    first = capsys.readouterr().out
    # 60 less the warm start
    assert re.search(r"kept out: 4\d prompts of .*rl\.toml with their reference texts", first)
    assert "epoch 2 of 2: loss" in first
    assert "student, to Chinese: top-1" in first
    assert distil.main(["--config", str(workplace)]) == 0
    second = capsys.readouterr().out
    assert "done before:" in second
    assert "epoch" not in second
    assert [line for line in first.splitlines() if line.startswith("student,")] == [
        line for line in second.splitlines() if line.startswith("student,")
    ]


def test_the_folder_says_how_its_student_came_to_be(workplace: Path) -> None:
    folder = distil.distil(read_config(workplace), workplace.parent / "cache", quiet)
    facts = json.loads((folder / "student.json").read_text(encoding="utf-8"))
    assert facts["pairs"]["read"] == 300
    assert (
        facts["pairs"]["read"]
        == facts["pairs"]["dropped"] + facts["pairs"]["train"] + facts["pairs"]["held_out"]
    )
    assert facts["pairs"]["origins"] == {
        "invented": {"texts": facts["pairs"]["train"], "licence": "nobody's"}
    }
    assert facts["teacher"] == "letters"
    assert {"config", "archives", "rl_data", "code", "weights_sha256", "figures", "attacks"} <= facts.keys()
    assert student.find_student(workplace.parent / "cache") == folder


def test_another_seed_is_another_student(workplace: Path) -> None:
    cache = workplace.parent / "cache"
    folder = distil.distil(read_config(workplace), cache, quiet)
    workplace.write_text("seed = 1\n" + workplace.read_text())
    assert distil.distil(read_config(workplace), cache, quiet) != folder


def test_nothing_to_learn_from_is_one_sentence(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distil, "read_items", lambda archives, cache, max_units: [])
    assert distil.main(["--config", str(workplace)]) == 2
    assert (
        "error: pairs: 0 texts were read and 0 kept out: too few are left to learn from"
        in capsys.readouterr().err
    )


# -- configuration


def test_the_shipped_configuration_keeps_every_shipped_task_out() -> None:
    """The data of each such RL configuration are those of one that is named, but for the share of the warm start."""
    config = read_config(CONFIGS / "encoder_bo.toml")
    examples = [path for path in CONFIGS.glob("*.toml") if '\nencoder = "bo"' in path.read_text("utf-8")]
    assert len(examples) >= 4
    out = [read_data_section(ROOT / name) for name in config.pairs.keep_out]
    read = {path.name: replace(read_data_section(path), warm_start_share=0.35) for path in examples}
    assert [name for name, section in read.items() if section not in out] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"c\.toml: unknown key 'sed'; known keys here: seed, pairs, student, training, teacher"),
        (
            "[training]\nepoch = 1",
            r"c\.toml: unknown key 'training\.epoch'; .*; did you mean 'training\.epochs'\?",
        ),
        ("[training]\nepochs = 1.5", r"training\.epochs = 1\.5 is of type float; write a value of type int"),
        ("[training]\nepochs = true", r"training\.epochs = True is of type bool"),
        ("[training]\nepochs = 0", r"training\.epochs = 0: must be at least 1"),
        ("[training]\nvariant_weight = -1", r"training\.variant_weight = -1\.0: must be at least 0"),
        ("[training]\nfeature_dropout = 1", r"training\.feature_dropout = 1\.0: must be at most 0\.999999"),
        (
            "[pairs]\nkeep_out = [1]",
            r"c\.toml: pairs\.keep_out\[0\] = 1 is of type int; write a value of type str",
        ),
        ("[pairs]\nnear_duplicate = 0", r"pairs\.near_duplicate = 0\.0: must be at least 1e-06"),
        ("[pairs]\nheld_out = 0", r"pairs\.held_out = 0: must be at least 1"),
        ("[student]\nwidth = 0", r"student\.width = 0: must be at least 1"),
        ("student = 3", r"c\.toml: student is a section; write its settings under \[student\]"),
        (
            'teacher = "elsewhere"',
            r"teacher = 'elsewhere': the texts of packages are taught by 'use'; name a run's pairs",
        ),
        ("seed = ", r"c\.toml: not TOML: "),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path)


def test_a_missing_configuration_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distil.main(["--config", str(tmp_path / "no.toml")]) == 2
    assert "no.toml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_missing_keep_out_file_is_one_sentence(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workplace.write_text('[pairs]\nkeep_out = ["configs/none.toml"]')
    assert distil.main(["--config", str(workplace)]) == 2
    assert "configs/none.toml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_an_unknown_key_of_an_rl_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rl.toml"
    path.write_text("[data]\ncorpse = 1\n")
    with pytest.raises(InputError, match=r"rl\.toml: unknown key 'data\.corpse'; known keys here: corpus, "):
        read_data_section(path)
