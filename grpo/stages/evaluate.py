"""The evaluation stage: greedy outputs and probes of each system of a run, their comparison, and the report.

Each system is one file in run/eval, and one in run/eval/<name> for each further test set; a system that has all of
them is not evaluated again. All processes share the batches of texts;
the first one scores the outputs and writes.
"""

import functools
import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from data.errors import InputError, Interrupted
from data.examples import Example
from data.records import Chain, examples_where
from data.script import known_script
from eval.forgetting.probes import run_probes
from eval.macro import write_macro_comparison
from eval.memory import TranslationMemory, build_memory
from eval.metrics.learned import LearnedScores, rewarded_metrics
from eval.report.brackets import rewarded_scores
from eval.report.write import result_table, write_report
from eval.run_folder import SYSTEM_KEYS, read_part, results_folder
from eval.systems import Place, evaluate_system, write_added_comparison, write_comparison, write_system
from grpo.engine.model import load_tokenizer
from grpo.engine.source import ModelSource
from grpo.runtime.old_folders import link_old_names
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
from grpo.stages.mixing import runs_by_language
from grpo.stages.prepare import panel_of
from grpo.stages.reward_setup import held_out_store, metrics_of, store_of
from grpo.stages.smaller_passes import sizes_of, with_smaller_passes
from grpo.stages.token_limits import with_limits
from reward.embedding import EmbeddingStore
from reward.language import LEAST_UNITS
from reward.script import is_consistent
from reward.units import units

OWN = ""  # the name of the run's own test set
TestSets = Mapping[str, Sequence[Example]]


def test_sets(run: Run) -> TestSets:
    """The items of every test set that has any, the own one first: those whose prompt fits."""
    prompt = load_prompt(run, untouched_model(run))
    corpus = corpus_of(run)
    sets = {OWN: corpus.test, **corpus.tests}
    limit = run.config.model.max_prompt_tokens
    return {name: within_limit(examples, prompt, limit) for name, examples in sets.items() if examples}


def own_sets(run: Run) -> TestSets:
    """The items of the own test set, or those of each of several corpora by its name. Raises InputError for none."""
    sets = test_sets(run)
    own = {name: sets[name] for name in run.config.data.corpora or (OWN,) if name in sets}
    if not own:
        raise InputError("there is no test item to evaluate; set data.test_size above 0")
    return own


Scales = tuple[EmbeddingStore, EmbeddingStore]  # the encoder that gave the reward, and the one that did not


def measure(
    run: Run,
    name: str,
    examples: Sequence[Example],
    outputs: list[str],
    scales: Scales,
    learned: LearnedScores | None = None,
) -> dict[str, Any]:
    run = runs_by_language(run).get(examples[0].target_language, run)
    script = known_script(run.target_language)

    def has_script(text: str, reference: str) -> bool:
        return is_consistent(text, script, reference=reference, min_share=run.config.reward.min_share)

    store, other = scales
    result = evaluate_system(
        name, examples, outputs, embed=store.embed, is_consistent=has_script,
        encoder=f"{run.config.reward.encoder}:{store.fingerprint[:12]}", held_out=other.embed,
        held_out_encoder=f"{run.config.reward.held_out}:{other.fingerprint[:12]}", learned=learned,
    )  # fmt: skip
    rewarded = {"rewarded": sorted(rewarded_scores(asdict(run.config)))}
    return result | rewarded | language_of_outputs(run, examples, outputs)


def language_of_outputs(run: Run, examples: Sequence[Example], outputs: list[str]) -> dict[str, Any]:
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
    """The test sets of a run, the encoders that score outputs, which only the first process loads, and where results
    go. `made_by` says how the outputs of an added system were made.
    """

    run: Run
    sets: TestSets
    place: Place = results_folder
    made_by: str = ""

    @functools.cached_property
    def scales(self) -> dict[str, Scales]:
        """What scores the outputs in each target language."""
        held_out = held_out_store(self.run)
        return {language: (store_of(run), held_out) for language, run in runs_by_language(self.run).items()}

    @functools.cached_property
    def learned_scores(self) -> LearnedScores | None:
        """The learned metrics of the run, each of which is loaded when the first outputs are scored."""
        reward = self.run.config.reward
        if not reward.metrics:
            return None
        return LearnedScores(
            metrics_of(self.run), rewarded_metrics(reward.weights, reward.gates, reward.metrics)
        )

    def scales_for(self, examples: Sequence[Example]) -> Scales:
        """The scales of the target language of a test set."""
        single = next(iter(self.scales.values()))
        return self.scales.get(examples[0].target_language, single)

    @property
    def num_items(self) -> int:
        return sum(map(len, self.sets.values()))

    def outputs(self, model: PreTrainedModel, folder: Path | ModelSource) -> dict[str, list[str]]:
        """The model's greedy outputs on each test set."""
        prompt = load_prompt(self.run, folder)
        return {test: greedy_texts(self.run, model, prompt, items) for test, items in self.sets.items()}

    def results(self, name: str, outputs: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
        """The result of a system on each test set."""
        return {
            test: measure(
                self.run, name, examples, outputs[test], self.scales_for(examples), self.learned_scores
            )
            for test, examples in self.sets.items()
        }

    def write(self, name: str, outputs: Mapping[str, list[str]], more: dict[str, Any]) -> None:
        """The file of a system for each test set, by the first process; the others wait. `more` goes with the
        first set.
        """
        if self.run.world.is_first:
            for test, result in self.results(name, outputs).items():
                result |= {"made_by": self.made_by} if self.made_by else {}
                result |= more if test == next(iter(self.sets)) else {}
                write_system(self.run.folder, result, test, self.place)
        self.run.world.wait()


def evaluate_model(measures: Measures, name: str, folder: Path | ModelSource) -> None:
    """Greedy outputs and probes of one model folder."""
    run = measures.run
    run.say(f"evaluating {name} on {measures.num_items} test items")
    run.world.report(f"eval, {name}")
    model = load_model(run, folder)
    outputs = measures.outputs(model, folder)
    probes = probe_results(run, model, folder) if run.config.eval.probes else {}
    measures.write(name, outputs, probes)
    del model
    gc.collect()


def eval_stage(run: Run) -> None:
    """Every system of the run that has no result yet, then the comparison of each pair."""
    run = run.world.first_then_all(lambda: with_limits(run))
    run = with_smaller_passes(run, "eval", sizes_of(run.config, "eval"))
    sets = run.world.first_then_all(lambda: test_sets(run))
    if not sets:
        run.say("no test items, so there is no evaluation (data.test_size = 0)")
        return
    measures = Measures(run, sets)
    folders = folders_of(run)
    missing = run.world.from_first(lambda: missing_systems(run, folders, sets))
    for name in missing:
        if name == "translation_memory":
            outputs = memory_outputs(run, sets) if run.world.is_first else {}
            measures.write(name, outputs, {})
        elif name == "warm_start" and not run.config.sft.num_steps:  # it is the untouched model
            copy_untouched(run, name, sets)
        else:
            evaluate_model(measures, name, folders[name])
        if run.is_stopping():
            raise Interrupted(run.stop.signal)
    if run.world.is_first:
        draws = run.config.seed, run.config.eval.bootstrap_samples
        by_document = run.config.eval.by_document
        for test in sets:
            write_comparison(run.folder, *draws, test, by_document=by_document)
            write_added_comparison(run.folder, *draws, test, by_document=by_document)
        if corpora := [name for name in run.config.data.corpora if name in sets]:
            write_macro_comparison(run.folder, corpora, *draws, by_document=by_document)
        link_old_names(run.folder)


def folders_of(run: Run) -> dict[str, Path | ModelSource]:
    """The models of a run by the names of their systems."""
    return {
        "untouched": untouched_model(run),
        "warm_start": run.warm_start,
        "trained_best": run.best_policy,
        "trained": run.policy,
    }


def missing_systems(run: Run, folders: Mapping[str, Path | ModelSource], sets: TestSets) -> list[str]:
    """The systems that can be evaluated and lack the result on a test set, in their order."""
    there = [name for name, folder in folders.items() if not isinstance(folder, Path) or folder.exists()]
    names = ["translation_memory", *there]
    places = [results_folder(run.folder, test) for test in sets]
    return [name for name in names if not all((place / f"{name}.json").exists() for place in places)]


def memory_outputs(run: Run, sets: TestSets) -> dict[str, list[str]]:
    """What the translation memory of each target language answers to its test sets."""
    corpus = corpus_of(run)
    pairs = Chain([corpus.warm_start, corpus.train])

    @functools.cache
    def memory_of(language: str) -> TranslationMemory:
        own = examples_where(pairs, lambda one: one.target_language == language and one.reference)
        return build_memory(own, run.folder)

    return {
        test: memory_of(items[0].target_language).translate([item.source for item in items])
        for test, items in sets.items()
    }


def copy_untouched(run: Run, name: str, sets: TestSets) -> None:
    """The results of the untouched model under another name."""
    if run.world.is_first:
        for test in sets:
            untouched = read_part(results_folder(run.folder, test) / "untouched.json", SYSTEM_KEYS)
            write_system(run.folder, untouched | {"system": name}, test)
    run.world.wait()


def report_stage(run: Run) -> None:
    """report.html, report.md and summary.json from the run folder alone, and the result table on the
    console.
    """
    html, markdown, _ = write_report(run.folder)
    run.say(result_table(run.folder))
    run.say(f"report: {html} and {markdown}")
