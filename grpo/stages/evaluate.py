"""The evaluation stage: greedy outputs and probes of each system of a run, their comparison, and the report.

Each system is one file in run/eval; one that exists is not made again. All processes share the batches of texts;
the first one scores the outputs and writes.
"""

import functools
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from data.errors import Interrupted
from data.examples import Example
from data.script import known_script
from eval.forgetting.probes import run_probes
from eval.memory import build_memory
from eval.report.write import result_table, write_report
from eval.run_folder import SYSTEM_KEYS, read_part
from eval.systems import evaluate_system, write_comparison, write_system
from grpo.engine.model import load_tokenizer
from grpo.engine.source import ModelSource
from grpo.stages.context import (
    Run,
    corpus_of,
    greedy_texts,
    load_model,
    load_prompt,
    untouched_model,
    within_limit,
)
from grpo.stages.language_fit import gate_of
from grpo.stages.prepare import panel_of
from grpo.stages.reward_setup import held_out_store, store_of
from reward.embedding import EmbeddingStore
from reward.language import LEAST_UNITS
from reward.script import is_consistent
from reward.units import units


def test_examples(run: Run) -> list[Example]:
    """The test items of every system: those whose prompt fits."""
    prompt = load_prompt(run, untouched_model(run))
    return within_limit(corpus_of(run).test, prompt, run.config.model.max_prompt_tokens)


def outputs_of(
    run: Run, model: PreTrainedModel, folder: Path | ModelSource, examples: list[Example]
) -> list[str]:
    return greedy_texts(run, model, load_prompt(run, folder), examples, run.world)


Scales = tuple[EmbeddingStore, EmbeddingStore]  # the encoder that gave the reward, and the one that did not


def measure(
    run: Run, name: str, examples: list[Example], outputs: list[str], scales: Scales
) -> dict[str, Any]:
    script = known_script(run.config.data.completion_language)

    def has_script(text: str, reference: str) -> bool:
        return is_consistent(text, script, reference=reference, min_share=run.config.reward.min_share)

    store, other = scales
    result = evaluate_system(
        name, examples, outputs, embed=store.embed, is_consistent=has_script,
        encoder=f"{run.config.reward.encoder}:{store.fingerprint[:12]}", held_out=other.embed,
        held_out_encoder=f"{run.config.reward.held_out}:{other.fingerprint[:12]}",
    )  # fmt: skip
    return result | language_of_outputs(run, examples, outputs)


def language_of_outputs(run: Run, examples: list[Example], outputs: list[str]) -> dict[str, Any]:
    """The shares of outputs and of reference texts that the run's identifier takes for the target language, over
    those long enough to judge; nothing without an identifier.
    """
    gate = gate_of(run)
    if gate is None:
        return {}
    sides = (outputs, [text for example in examples for text in example.references])
    long_texts = [[text for text in side if len(units(text)) >= LEAST_UNITS[True]] for side in sides]
    shares = [
        float((gate.probabilities(side) >= gate.threshold).mean()) if side else None for side in long_texts
    ]
    return {
        "language": {
            "identifier": run.config.reward.identifier, "threshold": gate.threshold, "outputs": len(long_texts[0]),
            "outputs_share": shares[0], "references": len(long_texts[1]), "references_share": shares[1],
        }
    }  # fmt: skip


def probe_results(run: Run, model: PreTrainedModel, folder: Path | ModelSource) -> dict[str, Any]:
    """The general-competence probes, or why there are none."""
    panel = run.world.first_then_all(lambda: panel_of(run))
    if isinstance(panel, str):
        return {"probes_unavailable": panel}
    return {"probes": run_probes(model, load_tokenizer(folder), panel, run.world)}


@dataclass(frozen=True)
class Measures:
    """The test items of a run, and the encoders that score outputs, which only the first process loads."""

    run: Run
    examples: list[Example]

    @functools.cached_property
    def scales(self) -> Scales:
        return store_of(self.run), held_out_store(self.run)

    def write(self, name: str, outputs: list[str], more: dict[str, Any]) -> None:
        """run/eval/<name>.json, by the first process; the others wait."""
        if self.run.world.is_first:
            result = measure(self.run, name, self.examples, outputs, self.scales)
            write_system(self.run.folder, result | more)
        self.run.world.wait()


def evaluate_model(measures: Measures, name: str, folder: Path | ModelSource) -> None:
    """Greedy outputs and probes of one model folder."""
    run = measures.run
    run.say(f"evaluating {name} on {len(measures.examples)} test items")
    run.world.report(f"eval, {name}")
    model = load_model(run, folder)
    outputs = outputs_of(run, model, folder, measures.examples)
    probes = probe_results(run, model, folder) if run.config.eval.probes else {}
    measures.write(name, outputs, probes)
    del model
    gc.collect()


def eval_stage(run: Run) -> None:
    """Every system of the run that has no result yet, then the comparison of each pair."""
    examples = run.world.first_then_all(lambda: test_examples(run))
    if not examples:
        run.say("no test items, so there is no evaluation (data.test_size = 0)")
        return
    measures = Measures(run, examples)
    folders = folders_of(run)
    missing = run.world.from_first(lambda: missing_systems(run, folders))
    for name in missing:
        if name == "translation_memory":
            outputs = memory_outputs(run, examples) if run.world.is_first else []
            measures.write(name, outputs, {})
        elif name == "warm_start" and not run.config.sft.num_steps:  # it is the untouched model
            copy_untouched(run, name)
        else:
            evaluate_model(measures, name, folders[name])
        if run.is_stopping():
            raise Interrupted(run.stop.signal)
    if run.world.is_first:
        write_comparison(run.folder, run.config.seed, run.config.eval.bootstrap_samples)


def folders_of(run: Run) -> dict[str, Path | ModelSource]:
    """The models of a run by the names of their systems."""
    return {
        "untouched": untouched_model(run),
        "warm_start": run.warm_start,
        "trained_best": run.best_policy,
        "trained": run.policy,
    }


def missing_systems(run: Run, folders: Mapping[str, Path | ModelSource]) -> list[str]:
    """The systems that can be evaluated and have no result yet, in their order."""
    there = [name for name, folder in folders.items() if not isinstance(folder, Path) or folder.exists()]
    names = ["translation_memory", *there]
    return [name for name in names if not (run.folder / "eval" / f"{name}.json").exists()]


def memory_outputs(run: Run, examples: list[Example]) -> list[str]:
    corpus = corpus_of(run)
    memory = build_memory([*corpus.warm_start, *corpus.train])
    return memory.translate([example.source for example in examples])


def copy_untouched(run: Run, name: str) -> None:
    """The result of the untouched model under another name."""
    if run.world.is_first:
        untouched = read_part(run.folder / "eval" / "untouched.json", SYSTEM_KEYS)
        write_system(run.folder, untouched | {"system": name})
    run.world.wait()


def report_stage(run: Run) -> None:
    """report.html, report.md and summary.json from the run folder alone, and the result table on the
    console.
    """
    html, markdown, _ = write_report(run.folder)
    run.say(result_table(run.folder))
    run.say(f"report: {html} and {markdown}")
