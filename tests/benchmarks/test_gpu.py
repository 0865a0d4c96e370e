"""`make bench-gpu` on a CPU with a tiny model: every row runs, one that fails or does not fit is reported, and
nothing is imported that a bare machine lacks.
"""

import ast
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from repository import ROOT

from benchmarks import gpu, gpu_peer, gpu_rows
from benchmarks.ceilings import Ceilings
from benchmarks.gpu_sizes import SIZES, TINY_SIZE, bill_sizes
from benchmarks.gpu_table import line_of
from benchmarks.subject import FAMILIES, random_model
from grpo.engine.attention import uses_blocks
from grpo.engine.products import FORMATS, format_of
from grpo.runtime import device
from grpo.stages.memory_bill import ModelSizes

# torch and transformers, and what installing transformers brings along
BARE = {"torch", "transformers", "numpy", "tqdm", "regex", "safetensors", "tokenizers", "huggingface_hub"}
OWN = {"benchmarks", "grpo", "reward", "data", "eval"}


def module_imports(tree: ast.Module) -> list[tuple[str, list[str]]]:
    """(module, names) of what a file imports when it is imported itself."""
    found: list[tuple[str, list[str]]] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, [alias.name for alias in node.names]))
    return found


def imported_packages(start: str) -> dict[str, str]:
    """Packages of others that `start` and all modules behind it import, with one module that does."""
    found: dict[str, str] = {}
    waiting = [start]
    seen = set()
    while waiting:
        module = waiting.pop()
        path = ROOT / Path(*module.split(".")).with_suffix(".py")
        path = path if path.exists() else ROOT / Path(*module.split(".")) / "__init__.py"
        if module in seen or not path.exists():
            continue
        seen.add(module)
        for target, names in module_imports(ast.parse(path.read_text(encoding="utf-8"))):
            if target.split(".")[0] in OWN:
                waiting += [target, *(f"{target}.{name}" for name in names)]
            elif target.split(".")[0] not in sys.stdlib_module_names:
                found[target.split(".")[0]] = module
    assert len(seen) > 40
    return found


def test_a_bare_machine_has_all_that_is_imported() -> None:
    found = imported_packages("benchmarks.gpu")
    assert {"torch", "transformers"} <= set(found)
    assert {name: module for name, module in found.items() if name not in BARE} == {}


@pytest.fixture
def one_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A median of one: what is measured here does not count."""
    for module in (gpu, gpu_rows):
        monkeypatch.setattr(module, "REPEATS", 1)


@pytest.mark.usefixtures("one_repeat")
def test_tiny_size_runs_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--size", "tiny", "--out", str(tmp_path), "--format", "bf16"]) == 0
    written = json.loads((tmp_path / "gpu.json").read_text())
    rows = [(row["kind"], row["shape"]) for row in written["rows"]]
    assert rows == [
        ("decode", "4 rows"),
        ("decode", "8 rows"),
        ("step", "2x2x4, prompts of 5"),
        ("step", "4x2x4, prompts of 5"),
        ("warm start", "32 pairs, anchor"),
    ]
    assert written["machine"]["compute_dtype"] == "bf16"
    steps = [row for row in written["rows"] if row["kind"] == "step"]
    for row in steps:
        phases = [row["seconds"][name] for name in ("rollout", "score", "update")]
        assert sum(phases) > 0 and all(math.isfinite(value) for value in row["shares"].values())
        assert 0 <= row["facts"]["gap_mean"] <= row["facts"]["gap_max"] < 0.05
        assert row["facts"]["effective_share"] == pytest.approx(1.0, abs=1e-3)
    assert len(written["roofline"]) == 2 + 2 * len(steps)
    assert (tmp_path / "gpu_roofline.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert written["remarks"] == ([] if gpu_peer.is_installed() else ["TRL is not installed: no row of it"])
    assert "tokens/s" in capsys.readouterr().out


@pytest.mark.usefixtures("one_repeat")
def test_a_row_that_fails_is_reported_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_result = gpu_rows.decode_result

    def fail_at_four(subject, size, rows, *rest):  # type: ignore[no-untyped-def]
        if rows == 4:
            raise torch.OutOfMemoryError("no memory\nfor this")
        return decode_result(subject, size, rows, *rest)

    monkeypatch.setattr(gpu, "decode_result", fail_at_four)
    monkeypatch.setattr(gpu, "SIZES", ())
    assert gpu.main(["--size", "tiny", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["remarks"][0] == "failed: tiny decode, 4 rows: OutOfMemoryError: no memory for this"
    assert written["rows"][0]["shape"] == "8 rows"
    assert len(written["rows"]) == 4


def test_without_time_every_row_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    assert gpu.main(["--size", "tiny", "--out", str(tmp_path), "--seconds", "0"]) == 0
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["rows"] == [] and len(written["remarks"]) == 6
    assert written["remarks"][0].startswith("left out: tiny decode, 4 rows takes about 0 s, and 0 s are left")


def bench_of(memory: int, deadline: float) -> gpu.Bench:
    ceilings = Ceilings(1, (1e12,), {"copy": 1e10})
    bench = gpu.Bench(device.choose("cpu"), ceilings, deadline, lambda: None)
    bench.machine = replace(bench.machine, memory=memory)
    return bench


def test_a_row_that_needs_more_memory_than_there_is_is_left_out() -> None:
    job = gpu.Job("a row", 96e9, 1.0, 4, lambda: pytest.fail("must not run"))
    bench = bench_of(100_000_000_000, math.inf)
    bench.measure(job)
    assert bench.remarks == ["left out: a row needs about 96 GB of 100 GB"]
    assert bench_of(102_000_000_000, math.inf).does_not_fit(job) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an accelerator")
def test_a_cpu_is_told_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "measures an accelerator" in capsys.readouterr().err


def test_a_random_model_is_prepared_as_a_policy() -> None:
    """On the number format and the attention of a run depends what is measured."""
    compute = device.Compute(torch.device("cpu"), FORMATS["fp16"])
    model = random_model(TINY_SIZE.settings, compute)
    assert format_of(model).name == "fp16" and uses_blocks(model)


def test_true_sizes_have_the_parameters_of_their_names() -> None:
    """On the device `meta`, which has no memory."""
    millions = []
    for size in SIZES:
        make_model, make_config = FAMILIES[size.family]
        with torch.device("meta"):
            model = make_model(make_config(**size.settings))
        total = sum(parameter.numel() for parameter in model.parameters())
        millions.append(round(total / 1e6))
        sizes = bill_sizes(size, total, model.get_output_embeddings().weight.numel())
        attention = model.model.layers[0].self_attn
        assert (sizes.queries, sizes.keys) == (attention.q_proj.out_features, attention.k_proj.out_features)
        assert sizes == ModelSizes.of(model.config.to_dict(), total, sizes.embedding)  # as --check counts
        norms = [name for name, _ in model.model.layers[0].named_children() if name.endswith("layernorm")]
        assert sizes.norms == len(norms) and sizes.norms_queries and hasattr(attention, "q_norm")
        assert sizes.layers == len(model.model.layers) and sizes.width == model.config.hidden_size
    assert millions == [131, 596, 1721, 4022]


def test_the_line_of_the_peer_says_how_many_times_longer_it_takes() -> None:
    result = gpu_rows.Result("TRL", "0.13B", "8x8x32", {"step": 1.05}, {}, {"ratio": 8.75}, 8_600_000_000)
    assert line_of(result, {"bytes": 0, "seconds": 60}).endswith("step 1.050 s, 8.8 x ours, peak 8.60 GB")
