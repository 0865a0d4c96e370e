"""The whole command on a tiny model and a user's corpus: stages, refusals, exit codes. Stopping and going on:
test_faults.py.
"""

import json
from pathlib import Path

import pytest
from tiny_run import arguments, metrics
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.config_file import load_config
from grpo.run import main
from grpo.runtime.run_folder import plain

pytestmark = pytest.mark.usefixtures("own_cache")


def test_whole_command_then_nothing_to_do(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(arguments(corpus, tiny_folder, run)) == 0
    printed = capsys.readouterr().out
    systems = {path.stem for path in (run / "eval").glob("*.json")}
    assert systems == {"untouched", "translation_memory", "warm_start", "trained", "comparison", "grpo"}
    assert (run / "eval" / "grpo.json").readlink() == Path("trained.json")  # a name of earlier versions
    scores = json.loads((run / "eval" / "trained.json").read_text(encoding="utf-8"))["metrics"]["all"]
    assert scores["n"] == 12
    assert f"{scores['cosine']:.3f}" in printed
    assert [(row["stage"], row["step"]) for row in metrics(run)] == [("sft", s) for s in range(3)] + [
        ("train", s) for s in range(4)
    ]
    assert {
        "report.html",
        "report.md",
        "summary.json",
        "config.json",
        "environment.json",
        "timings.json",
    } <= {p.name for p in run.iterdir()}
    assert not (run / "checkpoints" / "train").exists()
    model = AutoModelForCausalLM.from_pretrained(run / "policy")
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    assert model.config.use_cache and tokenizer.eos_token_id == 1
    before = (run / "policy" / "model.safetensors").stat().st_mtime_ns
    assert main(arguments(corpus, tiny_folder, run)) == 0
    assert (run / "policy" / "model.safetensors").stat().st_mtime_ns == before


def test_the_log_has_the_panel_and_the_second_run_embeds_no_reference(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signs of gaming beside the reward; tau from the warm start's own outputs; reference texts embedded
    once, ever.
    """
    stages = ["--stages", "data,sft,train", "reward.threshold=mean"]
    (tmp_path / "other").mkdir()
    assert main(arguments(corpus, tiny_folder, tmp_path / "first", *stages)) == 0
    printed = capsys.readouterr().out
    facts = json.loads((tmp_path / "first" / "reward.json").read_text())
    assert facts["rule"] == "mean of 4 dev outputs of the warm start" and -1 <= facts["threshold"] < 1
    assert (
        f"tau = {facts['threshold']:.4f} (mean of 4 dev outputs of the warm start); encoder noise 0.0e+00"
        in printed
    )
    last = metrics(tmp_path / "first", everything=True)[-1]
    panel = {
        "cosine_held_out_mean",
        "chrf_mean",
        "agreement_chrf",
        "agreement_cosine_held_out",
        "cosine_empty_mean",
        "length_ratio_mean",
    }
    panel |= {
        "unrepeated_mean",
        "uncopied_mean",
        "script_mean",
        "distinct_share",
        "zero_std_share",
        "embedding_hit_share",
    }
    assert panel <= last.keys() and 0 <= last["embedding_hit_share"] <= 1
    assert main(arguments(corpus, tiny_folder, tmp_path / "other" / "second", *stages)) == 0
    assert "94 reference texts, 0 of them embedded now" in capsys.readouterr().out


def test_terms_stand_on_the_scale_of_dev(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """The logged reward is the sum of the logged terms on the recorded scale."""
    run = tmp_path / "run"
    more = ["reward.weights={cosine=1.0,chrf=0.5}", "reward.gates=[]", "reward.normalise=dev"]
    assert main(arguments(corpus, tiny_folder, run, "--stages", "data,sft,train", *more)) == 0
    facts = json.loads((run / "reward.json").read_text())
    assert facts["dev_outputs"] == 4 and list(facts["statistics"]) == ["cosine", "chrf"]
    row = metrics(run)[-1]
    scales = {name: (mean, max(sd, 1e-3)) for name, (mean, sd) in facts["statistics"].items()}
    parts = {name: (row[f"{name}_mean"] - mean) / sd for name, (mean, sd) in scales.items()}
    assert row["reward_mean"] == pytest.approx(parts["cosine"] + 0.5 * parts["chrf"], rel=1e-3, abs=1e-3)


def test_a_reward_changed_on_the_way_is_refused(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: a weight taken out of the table was not noticed, for only what the new configuration has was
    compared.
    """
    run = tmp_path / "run"
    assert (
        main(
            arguments(
                corpus,
                tiny_folder,
                run,
                "--stages",
                "data,sft,train",
                "reward.weights={cosine=1.5,script=1.0}",
            )
        )
        == 0
    )
    assert main(arguments(corpus, tiny_folder, run, "--stages", "train", "reward.weights={cosine=1.5}")) == 2
    assert "reward.weights.script = 1.0, not None" in capsys.readouterr().err


def test_work_of_another_configuration_is_not_mixed(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*arguments(corpus, tiny_folder, run, "--stages", "data"), "train.optim.lr=0.5"]) == 0
    # nothing was trained yet: a new value may be tried
    assert main(arguments(corpus, tiny_folder, run, "--stages", "data,sft,train")) == 0
    assert main([*arguments(corpus, tiny_folder, run, "--stages", "train"), "train.optim.lr=0.5"]) == 2
    assert "train.optim.lr = 1e-05, not 0.5" in capsys.readouterr().err
    assert (run / "warm_start").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["device=tpu"], "device: unknown value 'tpu'"),
        (["reward.weights={cosin=1.0}"], "unknown term 'cosin'; known terms: cosine"),
        (['reward.gates=["script", "short"]'], "unknown term 'short'"),
        (["reward.settings.length_fit.slack=0.1"], "length_fit.slack"),
    ],
)
def test_mistakes_end_with_one_sentence_and_exit_code_2(
    more: list[str],
    message: str,
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "run" / "warm_start").exists()  # refused before anything is trained
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_the_configuration_as_json_is_all_that_json_prints(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = arguments(corpus, tiny_folder, tmp_path / "run", "--json")
    assert main(start) == 0
    assert json.loads(capsys.readouterr().out) == plain(load_config(start[1]))
    assert not (tmp_path / "run").exists()
