"""Other systems on the test set of a run: scored as its own, in its report, and nothing of its own is touched."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import arguments, quick_reward

from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from eval.run_folder import read_run
from grpo.evaluate import main
from grpo.run import main as train
from grpo.stages import context
from grpo.stages.added_system import write_sources

pytestmark = pytest.mark.usefixtures("own_cache")


def settings(model: Path) -> list[str]:
    return [*quick_reward(model), "threads=1", "sft.num_steps=1", "train.num_steps=1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tiny_folder: Path) -> Path:
    """The folder with the configuration and the run."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        stages = ["--stages", "data,sft,train,eval"]
        assert train(arguments(corpus, tiny_folder, folder / "run", *stages, *settings(tiny_folder))) == 0
    return folder


def command(folder: Path, model: Path, *more: str) -> list[str]:
    return ["--config", str(folder / "tiny.toml"), *more, *settings(model)]


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_model_is_scored_as_the_models_of_the_run(
    finished: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The untouched model once more: the same items, and no difference anywhere."""
    run = finished / "run"
    before = hashes(run / "eval")
    assert main(command(finished, tiny_folder, "--model", str(tiny_folder), "--name", "again")) == 0
    assert hashes(run / "eval") == before
    again = read_object(run / "added_systems" / "again.json")
    untouched = read_object(run / "eval" / "untouched.json")
    assert again["items"] == untouched["items"] and again["metrics"] == untouched["metrics"]
    contents = read_run(run)
    pair = contents.pair("untouched", "again")
    assert pair is not None
    changes = pair["slices"]["all"]
    assert {(change["difference"], change["low"], change["high"]) for change in changes.values()} == {
        (0, 0, 0)
    }
    own, added = contents.pair("untouched", "trained"), contents.pair("again", "trained")
    assert own is not None and added is not None and own["slices"] == added["slices"]
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "## Added systems" in report and "### GRPO minus again" in report
    assert f"the model in {tiny_folder}" in report.replace("\\", "")
    assert "GRPO minus again" in capsys.readouterr().out


def test_outputs_in_order_and_by_id_give_the_same_scores(
    finished: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference texts as outputs: chrF and BLEU of 100, and cosine 1."""
    run = finished / "run"
    sources = tmp_path / "test.jsonl"
    assert main(command(finished, tiny_folder, "--write-sources", str(sources))) == 0
    rows = [json.loads(line) for line in sources.read_text(encoding="utf-8").splitlines()]
    lines = tmp_path / "test.txt"
    assert main(command(finished, tiny_folder, "--write-sources", str(lines))) == 0
    assert lines.read_text(encoding="utf-8").splitlines() == [row["source"] for row in rows]
    references = {
        item["id"]: item["reference"] for item in read_object(run / "eval" / "untouched.json")["items"]
    }
    assert references.keys() == {row["id"] for row in rows} and len(rows) == 12
    text, by_id = tmp_path / "out.txt", tmp_path / "out.jsonl"
    text.write_text("".join(references[row["id"]] + "\n" for row in rows), encoding="utf-8")
    answers = [{"id": row["id"], "output": references[row["id"]]} for row in reversed(rows)]
    by_id.write_text("".join(json.dumps(row) + "\n" for row in answers), encoding="utf-8")
    for name, path in (("text", text), ("by_id", by_id)):
        assert main(command(finished, tiny_folder, "--outputs", str(path), "--name", name)) == 0
    first, second = (read_object(run / "added_systems" / f"{name}.json") for name in ("text", "by_id"))
    assert first["items"] == second["items"]
    scores = first["metrics"]["all"]
    assert scores["chrf"] == pytest.approx(100) and scores["bleu"] == pytest.approx(100)
    assert scores["cosine"] == pytest.approx(1) and scores["length_ratio"] == 1
    capsys.readouterr()
    for path, content, said in (
        (text, "a\nb\n", "2 lines for 12 test items"),
        (by_id, json.dumps(answers[0]), "1 outputs for 12 test items, and"),
        (by_id, f"{json.dumps(answers[0])}\n{json.dumps(answers[0])}", "comes twice"),
        (by_id, "{}", "no field 'id'"),
        (text, "\n" * 11 + "\udcff\n", "out.txt:12: not UTF-8"),
    ):
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        assert main(command(finished, tiny_folder, "--outputs", str(path), "--name", "bad")) == 2
        assert said in capsys.readouterr().err
    assert not (run / "added_systems" / "bad.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--name", "trained"], "none of untouched"),
        (["--name", "a/b"], "write up to 40 letters"),
        (["--name", "a", "--test", "flores"], "no such test set; this run has the own one"),
        (["--name", "a", "data.seed=3"], "data.seed = 0, not 3"),
        (
            ["--name", "trained", "threads=2", "eval.batch_size=8"],
            "--name trained: write up",
        ),  # they are free
    ],
)
def test_mistakes_are_one_sentence(
    more: list[str], said: str, finished: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(finished, tiny_folder, "--model", str(tiny_folder)), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_results_is_refused(
    finished: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--model", str(tiny_folder), "--name", "a", f"run_dir={tmp_path / 'none'}"]
    assert main([*command(finished, tiny_folder), *more]) == 2
    assert "this run is not evaluated yet" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_damaged_added_system_is_named(finished: Path, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished / "run", folder)
    (folder / "added_systems").mkdir(exist_ok=True)
    (folder / "added_systems" / "odd.json").write_text('{"system": "odd"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"added_systems/odd.json: key 'target_language' is missing"):
        read_run(folder)


def test_a_card_without_memory_gets_half_the_batch_once(
    finished: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    text = (folder / "tiny.toml").read_text(encoding="utf-8").replace(str(finished), str(folder))
    (folder / "tiny.toml").write_text(text, encoding="utf-8")
    real = context.greedy_outputs
    sizes = []

    def short(*arguments: Any) -> list[str]:
        sizes.append(arguments[3].batch_size)
        if sizes[-1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*arguments)

    monkeypatch.setattr(context, "greedy_outputs", short)
    assert main(command(folder, tiny_folder, "--model", str(tiny_folder), "--name", "again")) == 0
    assert sizes == [64, 32] and capsys.readouterr().out.count("goes on with eval.batch_size=32") == 1
    again = read_object(folder / "run" / "added_systems" / "again.json")
    assert again["items"] == read_object(folder / "run" / "eval" / "untouched.json")["items"]


def test_a_source_of_several_lines_goes_into_jsonl_only(tmp_path: Path) -> None:
    examples = [
        Example(f"a:{n}", text, "", "", "", "ckb", "en") for n, text in enumerate(["one", "two\nthree"])
    ]
    with pytest.raises(InputError, match=r"the source of a:1 has several lines; write a \.jsonl file"):
        write_sources(examples, tmp_path / "test.txt")
    assert not (tmp_path / "test.txt").exists()
    write_sources(examples, tmp_path / "test.JSONL")
    rows = (tmp_path / "test.JSONL").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["source"] for row in rows] == ["one", "two\nthree"]
