"""The conversion of official checkpoints, and every folder that is refused: one sentence each."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import outcome
from metric_folders import metric_folder

from benchmarks.tiny_metrics import write_checkpoint
from data.errors import InputError
from reward.learned.__main__ import main
from reward.learned.convert import comet_facts, convert
from reward.learned.scores import open_scorer

CPU = torch.device("cpu")
CKPT = "checkpoints/model.ckpt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint("comet", tmp_path / "comet", tmp_path / "bases")[0]


def alter(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def rewrite(path: Path, **settings: object) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))


class Anything:
    """An object that a pickle would make."""


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled": (
        lambda folder: alter(folder / CKPT, lambda content: content.update(callbacks=Anything())),
        "has pickled objects beside its tensors, which can run code, so none of it was read",
    ),
    "damaged": (lambda folder: (folder / CKPT).write_bytes(b"PK\x03\x04"), "not a readable checkpoint"),
    "absent": (
        lambda folder: alter(folder / CKPT, lambda content: content["state_dict"].pop("estimator.ff.3.bias")),
        r"estimator\.ff\.3\.bias is absent; a comet over xlm-roberta has it in shape \(12,\)",
    ),
    "shape": (
        lambda folder: alter(
            folder / CKPT,
            lambda content: content["state_dict"].update({"estimator.ff.0.weight": torch.ones(2, 3)}),
        ),
        r"estimator\.ff\.0\.weight has shape \(2, 3\); a comet over xlm-roberta has it in shape \(24, 96\)",
    ),
    "class": (
        lambda folder: rewrite(folder / "hparams.yaml", class_identifier="ranking_metric"),
        "class_identifier 'ranking_metric' is no metric known here",
    ),
    "yaml": (
        lambda folder: (folder / "hparams.yaml").write_text("a: !!python/object/apply:os.getcwd []"),
        "is no plain YAML",
    ),
    "weights": (lambda folder: (folder / CKPT).unlink(), "no weights"),
    "other": (lambda folder: (folder / "hparams.yaml").unlink(), "is no checkpoint of a known metric"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_is_not_what_it_says_is_refused(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    change, sentence = CHANGES[name]
    change(checkpoint)
    with pytest.raises(InputError, match=sentence):
        convert(checkpoint, tmp_path / "bases" / "xlmr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_tokenizer_and_a_folder_that_exists_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has no tokenizer\.json; give the folder of the metric's base model as --base"
    ):
        convert(checkpoint, None, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        convert(checkpoint, tmp_path / "bases" / "xlmr", tmp_path / "out")


def test_the_command_says_what_it_wrote(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(checkpoint), "--base", str(tmp_path / "bases" / "xlmr"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    rights = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(rights) == 1  # past bug: only the owner could read the weights
    printed = capsys.readouterr().out
    assert "a comet metric, checked against its architecture" in printed
    assert "head.safetensors" in printed
    assert outcome(main, arguments)[0] == 2


def test_settings_saved_with_the_weights_count_as_in_the_package() -> None:
    written = {
        "class_identifier": "regression_metric",
        "layer_transformation": "sparsemax",
        "hidden_sizes": [4],
    }
    assert comet_facts(Path(), written, written).mix == "sparsemax"
    saved = written | {"hidden_sizes": [5]}
    assert comet_facts(Path(), written | {"layer_transformation": "sparsemax_patch"}, saved).mix == "softmax"
    assert comet_facts(Path(), written, saved).hidden_sizes == (5,)
    kiwi = {"class_identifier": "unified_metric", "input_segments": ["mt", "src"]}
    assert comet_facts(Path(), kiwi, kiwi).family == "cometkiwi"
    with pytest.raises(InputError, match="input_segments"):
        comet_facts(Path(), kiwi, kiwi | {"input_segments": ["mt"]})


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no metric": (lambda folder: (folder / "metric.json").unlink(), "is no folder of a learned metric"),
    "family": (
        lambda folder: (folder / "metric.json").write_text('{"family": "meteor"}'),
        "family 'meteor' is not known; known families: comet, cometkiwi",
    ),
    "other": (
        lambda folder: (folder / "metric.json").write_text('{"family": "bleurt"}'),
        "needs 'pooler.weight' of shape",
    ),
    "activation": (
        lambda folder: (folder / "metric.json").write_text('{"family": "comet", "activation": "Sine"}'),
        "activation = 'Sine' is not known",
    ),
    "head": (
        lambda folder: (folder / "head.safetensors").write_bytes(b"x"),
        "not a readable safetensors file",
    ),
    "pickle": (
        lambda folder: [path.rename(path.with_suffix(".bin")) for path in folder.glob("*.safetensors")],
        "its weights are only a pickle",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_not_this_metric_is_refused(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(metric_folder(tmp_path / "made", "comet"), tmp_path / "copy")
    change, sentence = FOLDERS[name]
    change(folder)
    with pytest.raises(InputError, match=sentence):
        open_scorer(str(folder), CPU).scores(["a"], ["b"], [["c"]])


def test_an_official_checkpoint_is_refused_with_the_command_to_type(checkpoint: Path) -> None:
    with pytest.raises(
        InputError, match=r"is an official checkpoint; convert it once with: python -m reward\.learned"
    ):
        open_scorer(str(checkpoint), CPU)


def test_a_metric_that_needs_reference_texts_says_so(tmp_path: Path) -> None:
    scorer = open_scorer(str(metric_folder(tmp_path, "bleurt")), CPU)
    with pytest.raises(InputError, match="the metric bleurt needs a reference text"):
        scorer.scores(["a"], ["b"], [[]])
