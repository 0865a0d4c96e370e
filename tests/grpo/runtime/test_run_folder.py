"""A run folder belongs to one run at a time, wherever it lies, and to the inputs that it was made from."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import outcome
from tiny_run import arguments, metrics

from data.errors import InputError
from grpo.run import main
from grpo.runtime.run_folder import check_files, holds_work, sole_process
from grpo.stages.context import Run

pytestmark = pytest.mark.usefixtures("own_cache")
TO_WARM_START = ["--stages", "data,model,sft"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A run folder that holds work."""
    (tmp_path / "run" / "policy").mkdir(parents=True)
    return tmp_path / "run"


def test_the_second_process_is_refused_by_name(tmp_path: Path) -> None:
    with (
        sole_process(tmp_path, pytest.fail),
        pytest.raises(InputError, match=rf"{tmp_path}: process \d+ on .+ works in this run folder now"),
        sole_process(tmp_path, pytest.fail),
    ):
        pytest.fail("two processes in one folder")
    with sole_process(tmp_path, pytest.fail):  # given back
        assert not holds_work(tmp_path)


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("data.system.fcntl.flock", no_locks)
    said: list[str] = []
    with sole_process(tmp_path, said.append):
        assert said == [
            f"{tmp_path}: this file system has no locks (No locks available); start no second process here"
        ]


def rewrite(path: Path) -> None:
    path.write_text("another text of another length")


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "gone": lambda path: path.unlink(),
    "one more": lambda path: rewrite(path.with_name("other")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_input_of_work_is_refused(change: str, work: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "weights").write_text("as they were")

    def check(**more: Callable[[str], None]) -> None:
        check_files(work, "model.policy", {path.name: path for path in inputs.iterdir()}, **more)

    check()
    check()
    CHANGES[change](inputs / "weights")
    with pytest.raises(
        InputError,
        match=r"^model\.policy: (weights|other) has changed since this run began .*run_dir=runs/another",
    ):
        check()
    said: list[str] = []
    check(warn=said.append)
    check(warn=said.append)
    assert len(said) == 1 and said[0].startswith("WARNING: model.policy: ")


def test_a_copy_of_the_same_bytes_is_no_change(work: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    check_files(work, "tax.text", {"a": tmp_path / "a"})
    before = json.loads((work / "inputs.json").read_text())["tax.text"]["a"]
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("text")
    check_files(work, "tax.text", {"a": tmp_path / "a"})
    after = json.loads((work / "inputs.json").read_text())["tax.text"]["a"]
    assert after["time"] > before["time"] and after["sha256"] == before["sha256"]


def test_without_work_the_inputs_may_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    check_files(tmp_path, "tax.text", {"a": tmp_path / "a"})
    rewrite(tmp_path / "a")
    check_files(tmp_path, "tax.text", {"a": tmp_path / "a"})


def test_a_corpus_or_a_model_that_changes_between_two_starts(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Past bug: the split of a longer corpus is another one, and the run went on with test items that it had
    trained on.
    """
    pairs = tmp_path / "pairs.tsv"
    model = tmp_path / "model"
    shutil.copy(corpus, pairs)
    shutil.copytree(tiny_folder, model)
    start = arguments(pairs, model, tmp_path / "run", *TO_WARM_START)
    assert outcome(main, start)[0] == 0
    with pairs.open("a", encoding="utf-8") as file:
        file.writelines(f"ཀ་ཁ་ག་{'ང་' * n}\t天地人{'山' * n}\n" for n in range(1, 20))
    code, said = outcome(main, start)
    assert code == 2 and said.startswith(
        f"error: data.corpus = {pairs}: the corpus has changed since this run began (part "
    )
    shutil.copy(corpus, pairs)
    settings = json.loads((model / "config.json").read_text()) | {"rms_norm_eps": 1e-5}
    (model / "config.json").write_text(json.dumps(settings))
    code, said = outcome(main, start)
    assert code == 2 and said.startswith(
        f"error: model.policy: {model / 'config.json'} has changed since this run began"
    )


def test_a_moved_folder_is_the_same_run(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = tmp_path / "moved" / "run"
    assert main(arguments(corpus, tiny_folder, run, *TO_WARM_START)) == 0
    before = (run / "warm_start" / "model.safetensors").read_bytes()
    other.parent.mkdir()
    run.rename(other)
    for spelled in (f"{other}/", f"{other.parent}/../moved/run"):
        assert main(arguments(corpus, tiny_folder, other, *TO_WARM_START, f"run_dir={spelled}")) == 0
    assert (other / "warm_start" / "model.safetensors").read_bytes() == before


def test_without_a_warm_start_training_begins_from_the_untouched_model(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = ["data.warm_start_share=0", "sft.num_steps=0"]
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", *settings)) == 0
    assert [row["stage"] for row in metrics(tmp_path / "run")] == ["train"] * 4
    untouched, warm = (
        json.loads((tmp_path / "run" / "eval" / f"{name}.json").read_text())
        for name in ("untouched", "warm_start")
    )
    assert warm == untouched | {"system": "warm_start"} and warm["metrics"]["all"]["n"] == 12


def test_a_run_folder_that_is_a_link_to_nothing_is_named(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Past bug: the sentence was "File exists"."""
    (tmp_path / "run").symlink_to("unmounted")
    code, said = outcome(main, arguments(corpus, tiny_folder, tmp_path / "run"))
    link = f"run_dir = {tmp_path / 'run'} is a link to unmounted"
    assert (code, said) == (2, f"error: {link}, which is not there; make that folder\n")


def test_a_stage_that_begins_anew_says_so(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill before the first checkpoint leaves rows in the log and nothing to go on from."""
    run = tmp_path / "run"
    assert main(arguments(corpus, tiny_folder, run, *TO_WARM_START)) == 0
    shutil.rmtree(run / "warm_start")
    capsys.readouterr()
    assert main(arguments(corpus, tiny_folder, run, *TO_WARM_START)) == 0
    assert (
        "sft was begun before and nothing of it was saved (checkpoint.every), so it begins anew"
        in capsys.readouterr().out
    )


def test_a_signal_in_the_last_stage_that_ends_it_is_no_stop(
    corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(run: Run) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert main(arguments(corpus, tiny_folder, tmp_path / "a", *TO_WARM_START)) == 0
    monkeypatch.setattr("grpo.stages.prepare.model_stage", signalled)
    assert main(arguments(corpus, tiny_folder, tmp_path / "a", "--stages", "model")) == 0


def test_a_run_without_test_items_ends_without_an_evaluation(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: a traceback after all training."""
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", "data.test_size=0")) == 0
    assert "no test items, so there is no evaluation" in capsys.readouterr().out
    assert "Not evaluated: " in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ['reward.gates=["cosine_raw"]'],
            "reward.gates: cosine_raw is no gate, for it is not in [0, 1] with 1 for the reference text",
        ),
        (['reward.gates=["script", "length_ratio"]'], "reward.gates: length_ratio is no gate"),
        (["train.methods=sft"], "error: command line: unknown key 'train.methods'"),
        (
            ["data.dev_size=0", "reward.threshold=mean"],
            "reward.threshold = 'mean' is measured on the dev set, and data.dev_size = 0",
        ),
        (["data.dev_size=0", "eval.every=2"], "eval.every = 2 looks at the dev set, and data.dev_size = 0"),
        (["data.warm_start_share=0"], "data.warm_start_share = 0.0 leaves no pairs for sft.num_steps = 3"),
        (["--stages", "data,train"], "there is no warm start yet; run the stages data,model,sft first"),
    ],
)
def test_what_a_later_stage_needs_is_checked_first(
    settings: list[str], said: str, corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    code, sentence = outcome(main, arguments(corpus, tiny_folder, tmp_path / "run", *settings))
    assert code == 2 and said in sentence
    assert not (tmp_path / "run" / "corpus.json").exists()
