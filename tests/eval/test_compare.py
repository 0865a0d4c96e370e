"""Several runs on one page: only what they share counts, and every figure is that of the files."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import SIZES, measure
from earlier_version import give_old_names
from invented_run import write_run

from data.documents import read_object
from eval.compare import main
from eval.report.choice import ComparedSystem, choice
from eval.report.compare import sampled_tokens, trained_tokens
from eval.run_folder import RunFolder, read_run
from eval.systems import compare_systems, write_json


def change(path: Path, key: str, value: Any) -> None:
    write_json(path, read_object(path) | {key: value})


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("compare") / "run", resamples=10)


@pytest.fixture
def runs(invented: Path, tmp_path: Path) -> list[Path]:
    """Two runs on 60 items: the second one's trained model is the first one's warm start."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(invented, folder)
    warm_start = read_object(folders[0] / "eval" / "warm_start.json")
    write_json(folders[1] / "eval" / "trained.json", warm_start | {"system": "trained"})
    write_json(folders[1] / "config.json", {"seed": 0, "loss": {"kl_coef": 0.05}, "run_dir": "elsewhere"})
    return folders


def page(runs: list[Path], capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main([*map(str, runs), *more]) == 0
    return re.sub(r"\\(.)", r"\1", capsys.readouterr().out)


def test_figures_are_those_of_the_files(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file()}
    html = tmp_path / "page.html"
    text = page(runs, capsys, "--html", str(html), "--resamples", "200")
    first, second = (read_object(run / "eval" / "trained.json") for run in runs)
    row = compare_systems(first, second, seed=0, resamples=200)["slices"]["all"]["chrf"]
    cells = (f"{row[key]:.2f}" for key in ("before", "after"))
    interval = f"{row['low']:+.2f} to {row['high']:+.2f}".replace("-", "−")
    change_text = f"{row['difference']:+.2f}".replace("-", "−")
    assert f"| chrF | 60 | {' | '.join(cells)} | {change_text} | {interval} |" in text
    assert row["difference"] < 0 and row["high"] < 0 and "two: " in text
    assert "| loss.kl_coef | 0.02 | 0.05 |" in text and "run_dir" not in text
    assert "one → two" in text and "untouched → one" in text
    assert "two minus one" in html.read_text(encoding="utf-8")
    assert before == {path: path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file()}


def test_only_items_of_all_runs_count(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("untouched", "warm_start", "trained", "translation_memory"):
        path = runs[1] / "eval" / f"{name}.json"
        change(path, "items", read_object(path)["items"][10:])
    text = page(runs, capsys)
    first, second = (read_object(run / "eval" / "trained.json") for run in runs)
    first["items"] = first["items"][10:]
    row = compare_systems(first, second, seed=0)["slices"]["all"]["chrf"]
    assert f"| chrF | 50 | {row['before']:.2f} | {row['after']:.2f} |" in text
    assert "On 50 shared items, against one." in text


def test_runs_have_ranks_and_documents_can_be_drawn(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = page(runs, capsys, "--resamples", "200")
    header = next(line for line in text.splitlines() if line.startswith("| Run |") and "Copies" not in line)
    ranks = dict(re.findall(r"^\| (one|two) \| (\d(?: \| \d)*) \|$", text, re.MULTILINE))
    place = header.split(" | ").index("chrF") - 1
    assert [ranks[name].split(" | ")[place] for name in ("one", "two")] == ["1", "2"]
    for run in runs:  # one document: nothing can be told apart
        path = run / "eval" / "trained.json"
        items = read_object(path)["items"]
        change(path, "items", [item | {"id": f"book#{item['id']}"} for item in items])
    text = page(runs, capsys, "--resamples", "200", "--by", "document")
    ranks = dict(re.findall(r"^\| (one|two) \| (\d(?: \| \d)*) \|$", text, re.MULTILINE))
    assert set(ranks["one"].split(" | ")) == set(ranks["two"].split(" | ")) == {"1"}


def test_without_documents_there_are_none_to_draw(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: items of the user's own file were drawn, and called documents; a "#" in its path made all of them one."""
    for run in runs:
        for path in (run / "eval").glob("*.json"):
            if items := read_object(path).get("items"):
                own = [one | {"id": f"part#1/pairs.tsv:{one['id']}", "origin": "user"} for one in items]
                change(path, "items", own)
    assert main([*map(str, runs), "--by", "document"]) == 2
    assert "--by document: each test item is a document of its own" in capsys.readouterr().err


def test_scores_by_different_encoders_are_not_compared(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs[1] / "eval" / "trained.json"
    change(path, "signatures", read_object(path)["signatures"] | {"cosine": "encoder:another"})
    text = page(runs, capsys)
    assert "Not compared, as their signatures differ: Cosine." in text
    assert "| Held-out cosine | 60 |" in text and "| Cosine | 60 |" not in text
    assert "two: Held-out cosine" in text


def test_another_system_of_each_run(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = page(runs, capsys, "--system", "warm_start")
    assert "one: Warm start (SFT); two: Warm start (SFT)." in text
    assert "| chrF | 60 |" in text and "0.00 to 0.00" in text


def different_texts(run: Path) -> None:
    path = run / "eval" / "trained.json"
    items = read_object(path)["items"]
    items[3]["reference"] = "又"
    items[3]["references"] = ["又"]
    change(path, "items", items)


def different_split(run: Path) -> None:
    path = run / "corpus.json"
    manifest = read_object(path)["manifest"]
    manifest["splits"]["test"] = {"sha256": hashlib.sha256(b"x").hexdigest()}
    change(path, "manifest", manifest)
    items = read_object(run / "eval" / "trained.json")["items"]
    change(run / "eval" / "trained.json", "items", items[1:])


def other_ids(run: Path) -> None:
    path = run / "eval" / "trained.json"
    items = [item | {"id": f"x{item['id']}"} for item in read_object(path)["items"]]
    change(path, "items", items)


def other_items(run: Path) -> None:
    other_ids(run)
    path = run / "eval" / "trained.json"
    items = [item | {"source": f"x{item['source']}"} for item in read_object(path)["items"]]
    change(path, "items", items)


def test_runs_on_two_names_of_one_corpus_are_compared(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids hold the name of the corpus file, and so does the manifest's hash. Items meet by their texts."""
    before = page(runs, capsys, "--resamples", "50")
    other_ids(runs[1])
    path = runs[1] / "eval" / "trained.json"
    change(path, "items", read_object(path)["items"][::-1])
    for run, sha in zip(runs, "01", strict=True):
        manifest = read_object(run / "corpus.json")["manifest"]
        manifest["splits"]["test"] = {"sha256": sha}
        change(run / "corpus.json", "manifest", manifest)
    assert page(runs, capsys, "--resamples", "50") == before


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        ((different_texts,), "item item-003 has other texts"),
        ((other_items,), "no item is in both"),
        ((different_split,), "their corpora were split differently"),
    ],
)
def test_other_test_sets_are_refused(
    alter: tuple[Any, ...], said: str, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_object(runs[0] / "corpus.json")["manifest"]
    manifest["splits"]["test"] = {"sha256": "0"}
    if alter == (different_split,):
        change(runs[0] / "corpus.json", "manifest", manifest)
    alter[0](runs[1])
    assert main([*map(str, runs)]) == 2
    error = capsys.readouterr().err
    assert f"{runs[1]}: another test set than {runs[0]} ({said})" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "name two runs or more"),
        (["SAME"], "is named twice"),
        (["OTHER", "--system", "none"], "no system 'none'; it has untouched"),
        (["OTHER", "--resamples", "0"], "--resamples 0: a number from 1"),
        (["nowhere"], "nowhere: no such run folder"),
    ],
)
def test_mistakes_are_one_sentence(
    more: list[str], said: str, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"SAME": str(runs[0]), "OTHER": str(runs[1])}
    assert main([str(runs[0]), *(names.get(word, word) for word in more)]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_results_is_named_by_what_it_is(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = runs[0] / "policy"
    arm = tmp_path / "study" / "arms" / "grpo" / "seed0"
    for folder, config in ((model, {"model_type": "gemma3_text"}), (arm, {})):
        folder.mkdir(parents=True)
        write_json(folder / "config.json", config)
    assert main([str(model), str(runs[1])]) == 2
    assert f"is the folder of a model; give the run folder {runs[0]} that it comes" in capsys.readouterr().err
    assert main([str(arm), str(runs[1])]) == 2
    assert "is an arm of a study, whose report compares its arms: semantic-grpo" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_is_compared_by_what_it_has_trained(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Obituary: its trained model had another name, and its warm start was compared without a word."""
    now = page(runs, capsys, "--resamples", "100")
    for name in ("timings.json", "metrics.jsonl", "rollouts.jsonl"):
        (runs[1] / name).touch()
    (runs[1] / "timings.json").write_text('{"stages": {}}', encoding="utf-8")
    give_old_names(runs[1], "grpo")
    assert (runs[1] / "eval" / "grpo.json").exists()
    before, after = (text.partition("## Cost")[0] for text in (now, page(runs, capsys, "--resamples", "100")))
    assert before == after and "two: GRPO." in after


def test_tokens_are_counted_from_the_log(runs: list[Path]) -> None:
    rows = [
        {"stage": "sft", "step": 0, "tokens": 100},
        {"stage": "train", "step": 0, "tokens": 40, "trained_tokens": 70},
        {"stage": "train", "step": 1, "tokens": 30, "trained_tokens": 60, "sampled_tokens": 90},
        {"stage": "train", "step": 2, "tokens": 25},
        {"stage": "train", "step": 3, "tokens": 5, "trained_tokens": 1, "fed_tokens": 2.5},
    ]
    (runs[0] / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_json(
        runs[0] / "config.json", {"rollout": {"num_prompts": 2, "group_size": 4}, "train": {"passes": 3}}
    )
    run = read_run(runs[0])
    assert trained_tokens(run) == 100 + 3 * (70 + 60 + 25 + 8 * 2.5)
    assert sampled_tokens(run) == 40 + 90 + 5


def system_of(
    run: RunFolder,
    name: str,
    cosine: int,
    chrf: int,
    n: int = 60,
    encoder: str = "e",
    tax: float | None = None,
) -> ComparedSystem:
    """A system with these ranks, of a run that has lost `tax`; its change is that of nothing."""
    signatures = {"cosine_held_out": encoder, "chrf": encoder[:1]}
    system = {"items": [{}] * n, "signatures": signatures}
    settings = run.config | {"tax": {"against": "untouched"}}
    own = replace(run, config=settings, tax=() if tax is None else ({"tax_kept": tax},))
    return ComparedSystem(name, own, "warm_start", system, None, {"cosine_held_out": cosine, "chrf": chrf})


Span = tuple[float, float]
CHOICES: dict[str, tuple[list[tuple[Any, ...]], str, str]] = {
    "cosine decides": ([("a", 2, 1), ("b", 1, 1)], "Ship b: by Held-out cosine it is", "b"),
    "then chrF": ([("a", 1, 2), ("b", 1, 1), ("c", 2, 1)], "Ship b: by chrF it is clearly", "b"),
    "then the tax": (
        [("a", 1, 1, 60, "e", 0.03), ("b", 1, 1, 60, "e", 0.01)], "and it lost least elsewhere (0.0100 nats", "b",
    ),
    "nothing tells": ([("a", 1, 1), ("b", 1, 1)], "Ship either of a and b: Held-out cosine and", ""),
    "equal taxes": ([("a", 1, 1, 60, "e", 0.01), ("b", 1, 1, 60, "e", 0.01)], "Ship either of a and b: Held-out", ""),
    "they disagree": ([("a", 1, 2), ("b", 2, 1)], "No clear choice: a is better by Held-out cosine, b by chrF", ""),
    "two against one": ([("a", 1, 2), ("b", 1, 2), ("c", 2, 1)], "No clear choice: a and b are better by", ""),
    "too few": ([("a", 1, 1, 29), ("b", 2, 1, 29)], "No verdict: 29 shared items are too few", ""),
    "another encoder": ([("a", 1, 2), ("b", 2, 1, 60, "ex")], "Ship b: by chrF it is", "b"),
    "nothing in common": ([("a", 1, 2), ("b", 2, 1, 60, "x")], "No verdict: Held-out cosine", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_which_run_to_ship(case: str, invented: Path) -> None:
    systems, said, best = CHOICES[case]
    run = read_run(invented)
    found = choice([system_of(run, *one) for one in systems])
    assert said in found.text and found.best == best


def test_taxes_over_two_warm_starts_are_not_compared(invented: Path) -> None:
    """Past bug: the run of the dearer warm start was shipped, because its training added less to it."""
    pair = [system_of(read_run(invented), name, 1, 1, tax=tax) for name, tax in (("a", 0.03), ("b", 0.01))]
    for settings in ({}, {"against": "warm_start"}, {"against": "untouched", "text": "mine.txt"}):
        config = pair[1].run.config | {"tax": settings}
        other = replace(pair[1], run=replace(pair[1].run, config=config))
        assert choice([pair[0], other]).best == "", settings
    assert choice(pair).best == "b"


RISES: dict[
    str, tuple[tuple[Span, Span], tuple[Span, Span], str]
] = {  # (English, Chinese) of a and of b, what is shipped
    "clearly less in one text": (((0.1, 0.2), (0.5, 0.9)), ((0.1, 0.2), (0.1, 0.3)), "b"),
    "intervals that meet": (((0.1, 0.2), (0.25, 0.9)), ((0.1, 0.2), (0.1, 0.3)), ""),
    "each in another text": (((0.1, 0.2), (0.5, 0.9)), ((0.4, 0.6), (0.1, 0.3)), ""),
}


@pytest.mark.parametrize("case", RISES)
def test_runs_that_scores_do_not_tell_apart_are_told_apart_by_general_text(case: str, invented: Path) -> None:
    *spans, best = RISES[case]
    run = read_run(invented)
    systems = []
    for name, of_texts in zip("ab", spans, strict=True):
        probes = {
            key: {
                "difference": (low + high) / 2,
                "low": low,
                "high": high,
                "n": 24,
                "before": 1.0,
                "after": 2.0,
            }
            for key, (low, high) in zip(("english", "chinese"), of_texts, strict=True)
        }
        pair = {"before": "untouched", "after": "warm_start", "probes": probes}
        systems.append(system_of(replace(run, comparison={"pairs": [pair]}), name, 1, 1))
    found = choice(systems)
    assert found.best == best
    rises = "(English text, bits per character +0.150; Chinese text, bits per character +0.200)"
    assert (f"lost least elsewhere {rises}" in found.text) == bool(best)


def test_the_first_screen_says_which_run_to_ship_and_why(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The second run's model is a warm start. Of two runs the interval decides, and not the rank."""
    text = page(runs, capsys, "--resamples", "200", "--html", str(tmp_path / "page.html"))
    first = text.partition("## What changed")[0]
    assert "**Ship one: by chrF it is clearly better.** two against one: " in first, first
    assert "two against one: Held-out cosine −" in first and "one: against the untouched model, " in first
    row = re.search(r"^\| chrF \(two against one\) \| ▼ \| (−[\d.]+) \|", first, re.MULTILINE)
    assert row and row[1] in first.partition("two against one")[2]


FIRST_SCREEN = """page => {
  const root = page.document.documentElement;
  for (const details of page.document.querySelectorAll("details")) details.open = true;
  const bottom = selector => page.document.querySelector(selector).getBoundingClientRect().bottom;
  return [root.clientWidth, root.scrollWidth, bottom(".verdict"), bottom(".numbers")];
}"""


@pytest.mark.slow
def test_the_first_screen_of_a_computer_and_a_phone_has_the_answer(runs: list[Path], tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    assert main([*map(str, runs), "--html", str(html), "--resamples", "100"]) == 0
    for (width, height), found in zip(SIZES.values(), measure(html, FIRST_SCREEN, tmp_path), strict=True):
        room, needed, answer, numbers = found
        assert (room, needed) == (width, width) and answer < numbers < height


def test_learned_metrics_and_what_training_optimised_are_marked(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first run is paid by the cosine and by comet, the second by chrF: all of them stand in brackets."""
    change(runs[0] / "config.json", "reward", {"weights": {"cosine": 1.0, "comet": 1.0}, "gates": []})
    change(runs[1] / "config.json", "reward", {"weights": {"chrf": 1.0}, "gates": []})
    for number, run in enumerate(runs):
        path = run / "eval" / "trained.json"
        facts = {"family": "comet", "better": 1, "rewarded": number == 0, "signature": "comet:01"}
        other = {"family": "metricx", "better": -1, "rewarded": False, "signature": f"metricx:{number}"}
        change(path, "learned", {"comet": facts, "errors": other})
        items = read_object(path)["items"]
        own = [
            item | {"learned": {"comet": 0.5 + 0.25 * number + row / 1000, "errors": 1.0}}
            for row, item in enumerate(items)
        ]
        change(path, "items", own)
    text = page(runs, capsys, "--resamples", "100")
    assert "| Run | n | [Cosine] | Held-out cosine | [chrF] | BLEU |" in text
    assert "| Run | [comet] |" in text  # errors has two signatures
    assert "| one | 0.529 |" in text and "| two | 0.779 |" in text
    assert "| [comet] | 60 | 0.529 | 0.779 | +0.250 | +0.250 to +0.250 | < 0.001 | 0.010 | better |" in text
    assert (
        "| Run | [Cosine] | Held-out cosine | [chrF] | BLEU | ROUGE-L | Script consistency | [comet] |"
        in text
    )
    assert "In brackets: training optimised this metric" in text
