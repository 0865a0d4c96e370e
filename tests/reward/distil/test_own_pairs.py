"""An encoder made of a run's own pairs: what it learns from, what is kept out, and that a run can load it."""

import json
import random
from pathlib import Path

import pytest
import torch
from command_line import outcome
from invented_tibetan import LetterTeacher

from data.errors import InputError
from data.examples import Example
from reward.distil import __main__ as command
from reward.distil import own_pairs
from reward.distil.config import DistilConfig, PairsConfig, StudentConfig, TrainingConfig
from reward.distil.own_pairs import check_teacher, distil_own_pairs, read_pairs, training_targets
from reward.distil.variants import substitute_unit
from reward.encoder import load_encoder
from reward.encoders import student as student_module
from reward.encoders.student import is_for_student, teacher_of

WORDS = 60


def invented_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Two made-up languages in Latin and Ethiopic letters, word for word."""
    draw = random.Random(seed)
    latin = [
        "".join(chr(97 + (7 * word + 5 * k) % 26) for k in range(2 + word % 4)) + str(word % 3)
        for word in range(WORDS)
    ]
    ethiopic = [
        "".join(chr(0x1200 + 8 * ((3 * word + 11 * k) % 30)) for k in range(2 + word % 3))
        for word in range(WORDS)
    ]
    meanings = [[draw.randrange(WORDS) for _ in range(draw.randint(4, 9))] for _ in range(count)]
    return [
        (" ".join(latin[n] for n in meaning), " ".join(ethiopic[n] for n in meaning)) for meaning in meanings
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configuration of a run from made-up Latin to made-up Ethiopic texts; the teacher needs no weights."""
    monkeypatch.setattr(own_pairs, "load_encoder", lambda name, cache, device: LetterTeacher())
    monkeypatch.setattr("reward.encoder._use", lambda cache, device: LetterTeacher())
    monkeypatch.setitem(own_pairs.BY_NAME, "use", lambda cache, device: LetterTeacher())
    monkeypatch.setattr(student_module, "load_use", lambda device: LetterTeacher())
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pairs.tsv").write_text(
        "".join(f"{a}\t{b}\n" for a, b in invented_pairs(600)), encoding="utf-8"
    )
    config = tmp_path / "run.toml"
    config.write_text(
        f'run_dir = "x"\n[data]\ncorpus = "{tmp_path / "pairs.tsv"}"\nsource_language = "en"\ntarget_language = "am"\n'
        "test_size = 60\ntest_min_per_language = 0\ndev_size = 20\n"
    )
    return str(config)


def settings(run: str, **more: object) -> DistilConfig:
    training = TrainingConfig(epochs=1, batch_size=64)
    return DistilConfig(pairs=PairsConfig(run=run), student=StudentConfig(24, 48), training=training, **more)


def quiet(text: str) -> None:
    """Nothing."""


def test_a_student_of_own_pairs_finds_the_sources_of_unseen_texts(run: str, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = distil_own_pairs(settings(run), tmp_path / "cache", lines.append)
    facts = json.loads((folder / "student.json").read_text(encoding="utf-8"))
    assert (facts["script"], facts["language"], facts["teacher_name"]) == ("Ethi", "am", "use")
    figures = facts["figures"]
    assert figures["student"]["dev and test, to their source"]["auc"] > 0.9
    # the letter teacher knows one language
    assert abs(figures["teacher"]["dev and test, to their source"]["auc"] - 0.5) < 0.1
    assert figures["student"]["dev and test, to their source"]["n"] == facts["pairs"]["judged"] == 80
    # 150 updates at least
    assert any(f"{facts['pairs']['train']} texts, 17 epochs of 9 updates" in line for line in lines)
    assert (
        distil_own_pairs(settings(run), tmp_path / "cache", lines.append) == folder
        and lines[-1] == f"done before: {folder}"
    )
    assert distil_own_pairs(settings(run, seed=1), tmp_path / "cache", quiet) != folder


def test_a_run_loads_it_and_each_reads_its_script(run: str, tmp_path: Path) -> None:
    folder = distil_own_pairs(settings(run), tmp_path / "cache", quiet)
    encoder = load_encoder(str(folder), tmp_path / "cache", torch.device("cpu"))
    sources, references = zip(*invented_pairs(40, seed=5), strict=True)
    cosines = encoder.encode(sources) @ encoder.encode(references).T
    assert (
        torch.equal(encoder.encode(sources), LetterTeacher().encode(sources)) and teacher_of(folder) == "use"
    )
    assert cosines.diagonal().mean() > cosines.mean() + 0.1


def test_dev_and_test_and_what_lies_near_them_are_not_learnt(run: str, tmp_path: Path) -> None:
    pairs = read_pairs(settings(run), tmp_path / "cache", quiet)
    learnt = {example.source for example in pairs.train}
    assert len(pairs.evaluation) == 80 and not learnt & {example.source for example in pairs.evaluation}
    other = tmp_path / "other.toml"  # another run, whose test items are this one's learning pairs
    other.write_text(Path(run).read_text().replace("test_size = 60", "test_size = 90\nseed = 3"))
    config = DistilConfig(pairs=PairsConfig(run=run, keep_out=(str(other),)))
    fewer = read_pairs(config, tmp_path / "cache", quiet)
    assert len(fewer.train) < len(pairs.train) - 50 and fewer.evaluation == pairs.evaluation


def test_several_corpora_are_learnt_from_where_they_have_one_target_language(
    run: str, tmp_path: Path
) -> None:
    """Past bug: an AttributeError, as the tables of data.corpora were not read."""
    path = tmp_path / "both.toml"
    table = f'train = "{tmp_path / "pairs.tsv"}"\nsource_language = "en"\ntarget_language = '
    head = "[data]\ntest_size = 20\ntest_min_per_language = 0\ndev_size = 20\n"

    def corpora(**languages: str) -> DistilConfig:
        tables = (f'[data.corpora.{name}]\n{table}"{one}"\n' for name, one in languages.items())
        path.write_text(head + "".join(tables), encoding="utf-8")
        return settings(str(path))

    pairs = read_pairs(corpora(a="am", b="am"), tmp_path / "cache", quiet)
    assert {one.origin for one in pairs.train} == {"a", "b"} and pairs.language == "am"
    with pytest.raises(InputError, match="have the target languages am, ti, and an encoder is of one; name"):
        read_pairs(corpora(a="am", b="ti"), tmp_path / "cache", quiet)


def test_several_sources_of_one_text_are_one_lesson() -> None:
    examples = [
        Example(str(n), source, "ሀለ", "o", "l", "en", "am", others=("መ",) if n == 2 else ())
        for n, source in enumerate("aab")
    ]
    texts, targets = training_targets(examples, LetterTeacher())
    a, b = LetterTeacher().encode(["a", "b"])
    assert texts == ["ሀለ", "መ"]
    mean = torch.nn.functional.normalize(2 * a + b, dim=0)
    assert torch.allclose(targets, torch.stack([mean, b]), atol=1e-6)


def test_a_teacher_that_is_blind_to_the_sources_is_refused(run: str, tmp_path: Path) -> None:
    class Blind(LetterTeacher):
        def encode(self, texts: object) -> torch.Tensor:
            return super().encode(["one"] * len(texts))  # type: ignore[arg-type]

    pairs = read_pairs(settings(run), tmp_path / "cache", quiet)
    with pytest.raises(
        InputError,
        match=r"teacher = 'mine': it cannot tell the source texts apart \(AUC 0\.50, 0\.9 is needed\)",
    ):
        check_teacher("mine", Blind(), pairs, quiet)


def test_the_command_says_how_to_use_it(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "DistilConfig", lambda pairs: settings(pairs.run))  # smaller and sooner done
    assert command.main(["--run", run]) == 0
    (folder,) = (tmp_path / "cache" / "encoders").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f'to use it: reward.encoder = "{folder}"'


def test_too_few_pairs_are_said(run: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(
        "".join(f"{a}\t{b}\n" for a, b in invented_pairs(120)), encoding="utf-8"
    )
    code, lines = outcome(command.main, ["--run", run])
    assert code == 2 and "an encoder needs 200 pairs to learn from and 2 to measure on, here are" in lines


def test_reading_by_script_and_one_unit_exchanged() -> None:
    assert (
        is_for_student("ሀለ 12", "Ethi")
        and not is_for_student("abc", "Ethi")
        and is_for_student("天地ཀ", "Hani")
    )
    results = [substitute_unit(["a", "b", "c"], [["x"]], random.Random(seed)) for seed in range(20)]
    assert {tuple(words) for words in results} == {("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x")}
