"""Commands that only read results load no library for models: transformers alone takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
from invented_run import write_run
from repository import ROOT

from eval.score_metrics import NUMBER_FORMATS
from reward.learned.scores import FORMATS

MODULES = ("eval.compare", "eval.card.__main__", "eval.score", "eval.study.report", "grpo.study.__main__")
HEAVY = ("transformers", "tokenizers")


def loaded(code: str) -> list[str]:
    """Those of HEAVY that a process has loaded after `code`."""
    end = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{end}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stderr.split()


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_command_that_reads_results_is_cheap(module: str) -> None:
    assert loaded(f"import {module}") == []


def test_a_library_for_models_would_be_seen() -> None:
    assert "transformers" in loaded("import grpo.stages.evaluate")


def test_doing_their_work_is_cheap_too(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name, count=12, resamples=20)) for name in ("one", "two")]
    lines = tmp_path / "lines.txt"
    lines.write_text("a b c\nd e f\n", encoding="utf-8")
    config = tmp_path / "c.toml"
    config.write_text(f'run_dir = "{runs[0]}"\n', encoding="utf-8")
    (Path(runs[0]) / "config.json").unlink()
    score = ["--metric", "chrf", "--outputs", str(lines), "--references", str(lines)]
    code = f"""
import eval.compare, eval.score, grpo.run
assert eval.compare.main([*{runs[1:]!r}, {str(tmp_path / "three")!r}, "--resamples", "20"]) == 0
assert eval.score.main({score!r}) == 0
assert grpo.run.main(["--config", {str(config)!r}, "--stages", "report"]) == 0
"""
    write_run(tmp_path / "three", count=12, resamples=20)
    assert loaded(code) == []
    assert (Path(runs[0]) / "report.html").exists()


def test_the_formats_of_learned_metrics_are_those_that_a_score_offers() -> None:
    assert tuple(FORMATS) == NUMBER_FORMATS
