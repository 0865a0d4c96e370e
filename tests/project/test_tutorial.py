"""The tutorial notebook runs from its first cell to its last, on a CPU, and shows what it says."""

import json
from pathlib import Path

import pytest
from repository import ROOT

from grpo.config_file import load_config

NOTEBOOK = json.loads((ROOT / "examples" / "tutorial.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_no_output_is_stored() -> None:
    assert len(CODE) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


def test_all_cells_run(
    tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "tutorial"}
    for cell in CODE:
        exec("".join(cell["source"]), names)
    output = (tmp_path / "tutorial" / "new.zh.txt").read_text(encoding="utf-8")
    assert output.count("\n") == 2 and len(set(output) & set("天地人山水火木金土日月星风雨云石")) >= 2
    losses = names["losses"]
    assert isinstance(losses, list) and losses[-1] < 0.3 * losses[0]
    scores = [names[name]["metrics"]["all"]["chrf"] for name in ("untouched", "warm_start", "trained")]  # type: ignore[index]
    assert (
        scores[0] < 1 and min(scores[1:]) > 30 and abs(scores[2] - scores[1]) < 5
    )  # GRPO gains nothing here
    assert "warm_start chrF" in capsys.readouterr().out
    assert load_config("tutorial/tutorial.toml").reward.weights == {"chrf": 1.0}
