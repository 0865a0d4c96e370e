"""Scores one system's outputs on the test set, and compares two systems with intervals.

Results are plain dictionaries, written as JSON to `eval/<system>.json` and `eval/comparison.json` of a run
folder and read back by the report. Items are sorted by id before anything is computed, so the order of a test
set changes no number.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.cache import atomic_write_text
from data.errors import InputError
from data.examples import Example
from data.sources.user_file import ORIGIN as OWN_FILE
from eval.forgetting.probe_changes import compare_probes
from eval.metrics import overlap, rouge
from eval.metrics.learned import LearnedScores
from eval.metrics.ranking import group_numbers, macro_randomisation_p, random_swaps, randomisation_p, ranks
from eval.metrics.significance import (
    RESAMPLES,
    Array,
    Score,
    cluster_counts,
    macro_bootstrap,
    mean_statistics,
    ratio_of_sums,
)
from eval.metrics.similarity import Embed, cosines
from eval.run_folder import (
    SYSTEMS,
    Json,
    added_folder,
    added_names,
    named_damage,
    read_systems,
    references_of,
    results_folder,
    shared_keys,
)

PAIRS = (
    ("warm_start", "trained"),
    ("warm_start", "trained_best"),
    ("translation_memory", "trained"),
    ("untouched", "trained"),
    ("untouched", "warm_start"),
    ("translation_memory", "warm_start"),
)
CORPUS_SCORES = {"chrf": overlap.chrf_of_sums, "bleu": overlap.bleu_of_sums}
Items = Sequence[dict[str, Any]]
# statistics of the items before and after by score, and the group of each item
Corpus = tuple[Mapping[str, Array], Mapping[str, Array], NDArray[np.int64]]
Place = Callable[[Path, str], Path]  # run folder and test set -> the folder of results


def evaluate_system(
    name: str,
    examples: Sequence[Example],
    outputs: Sequence[str],
    *,
    embed: Embed,
    is_consistent: Callable[[str, str], bool],
    encoder: str,
    held_out: Embed,
    held_out_encoder: str,
    learned: LearnedScores | None = None,
) -> dict[str, Any]:
    """Score the outputs of one system; every reference text of an example counts.

    `is_consistent`: (output, reference texts) -> whether the output is in the target script, by the rule of
    the reward. `encoder` describes the encoder behind `embed`, for the signature of the cosine; `held_out` is
    a second one that gave no reward. `learned`: the learned metrics, and which of them training optimised.

    Raises ValueError for a wrong number of outputs or several target languages, InputError for no examples.
    """
    language = only_language(name, examples, outputs)
    pairs = sorted(zip(examples, outputs, strict=True), key=lambda pair: pair[0].id)
    examples = [pair[0] for pair in pairs]
    outputs = [pair[1] for pair in pairs]
    references = [example.references for example in examples]
    scores: dict[str, Sequence[float | bool]] = {
        "cosine": cosines(outputs, references, embed),
        "cosine_held_out": cosines(outputs, references, held_out),
        "chrf": sentence_chrf(outputs, references),
        "rouge_l": rouge.rouge_l(outputs, references),
        "consistent": [*map(is_consistent, outputs, map(" ".join, references))],
        "copied": rouge.copies([example.source for example in examples], outputs, references, language),
    }
    items = [
        item_record(example, output, {name: values[row] for name, values in scores.items()})
        for row, (example, output) in enumerate(zip(examples, outputs, strict=True))
    ]
    facts = learned.facts() if learned is not None else {}
    if learned is not None:
        rows = learned.rows([one.source for one in examples], outputs, references)
        items = [{**item, "learned": values} for item, values in zip(items, rows, strict=True)]
    return {
        "system": name,
        "target_language": language,
        "signatures": signatures(outputs, references, language, encoder, held_out_encoder),
        "metrics": {key: metrics([items[i] for i in rows], language) for key, rows in slices(items).items()},
        **({"learned": facts} if facts else {}),
        "items": items,
    }


def signatures(
    outputs: Sequence[str], references: overlap.References, language: str, encoder: str, held_out_encoder: str
) -> dict[str, str]:
    """metric -> how it was computed; scores of different signatures are not compared."""
    return {
        "cosine": f"encoder:{encoder}",
        "cosine_held_out": f"encoder:{held_out_encoder}",
        **overlap.signatures(outputs, references, language),
        "rouge_l": rouge.signature(references),
        "copied_share": rouge.copy_signature(language),
    }


def only_language(name: str, examples: Sequence[Example], outputs: Sequence[str]) -> str:
    """The target language of all examples.

    Raises ValueError unless there is one, and one output an example; InputError for no examples.
    """
    if not examples:
        raise InputError(
            f"{name}: there is no test item to evaluate; set data.test_size above 0, "
            "and model.max_prompt_tokens so that prompts fit"
        )
    languages = sorted({example.target_language for example in examples})
    if len(examples) != len(outputs):
        raise ValueError(f"{name}: {len(outputs)} outputs for {len(examples)} examples; give one each")
    if len(languages) != 1:
        raise ValueError(f"{name}: target languages {languages}; evaluate a test set of one target language")
    return languages[0]


def sentence_chrf(outputs: Sequence[str], references: overlap.References) -> list[float]:
    """chrF of each output alone."""
    return list(map(float, overlap.chrf_of_sums(overlap.chrf_statistics(outputs, references))))


def item_record(example: Example, output: str, scores: dict[str, float | bool]) -> dict[str, Any]:
    """The record of one item; `length_ratio` is null for a reference text without a unit of its language."""
    lengths = overlap.length_statistics([output], [example.references], example.target_language)
    [[length, units]] = lengths.tolist()
    ratio = length / units if units else None
    about = {
        key: getattr(example, key)
        for key in ("id", "origin", "task", "source_language", "source", "reference")
    }
    about["references"] = list(example.references)
    return {**about, "output": output, **scores, "length_ratio": ratio}


def slices(items: Items) -> dict[str, list[int]]:
    """Row numbers of `all`, of each source language (`bo`) and of each origin (`origin:mediawiki`)."""
    groups: dict[str, list[int]] = {"all": list(range(len(items)))}
    for prefix, key in (("", "source_language"), ("origin:", "origin")):
        for value in sorted({item[key] for item in items}):
            groups[f"{prefix}{value}"] = [row for row, item in enumerate(items) if item[key] == value]
    return groups


def statistics(items: Items, language: str) -> dict[str, Array]:
    """metric -> (n, k) sufficient statistics, for the functions of `score_of`.

    Scores that follow from the texts are computed from them, because items of earlier versions lack some.
    """
    sources, outputs = ([item[key] for item in items] for key in ("source", "output"))
    references = [references_of(item) for item in items]
    metric_names = set.intersection(*(set(item.get("learned", {})) for item in items)) if items else set()
    return {
        "cosine": mean_statistics([item["cosine"] for item in items]),
        "cosine_held_out": mean_statistics([item["cosine_held_out"] for item in items]),
        "chrf": overlap.chrf_statistics(outputs, references),
        "bleu": overlap.bleu_statistics(outputs, references, language),
        "rouge_l": mean_statistics(rouge.rouge_l(outputs, references)),
        "consistent_share": mean_statistics([item["consistent"] for item in items]),
        "length_ratio": overlap.length_statistics(outputs, references, language),
        "empty_share": mean_statistics([not output.strip() for output in outputs]),
        "copied_share": mean_statistics(rouge.copies(sources, outputs, references, language)),
        **{name: mean_statistics([item["learned"][name] for item in items]) for name in sorted(metric_names)},
    }


def metrics(items: Items, language: str) -> dict[str, float]:
    """n and every metric over all items together: corpus chrF and BLEU, ratio of total lengths, mean of the rest."""
    rows = statistics(items, language)
    return {"n": len(items), **{name: float(score_of(name)(one.sum(axis=0))) for name, one in rows.items()}}


def score_of(name: str) -> Score:
    """The function from sums of statistics to the metric: for most a ratio of two sums."""
    return CORPUS_SCORES.get(name, ratio_of_sums)


def document_of(item: dict[str, Any]) -> str:
    """The document that an item is of: its id up to the last "#", as readers of packages write it. An item of the user's
    own file is a document of its own, whatever stands in the file's path.

    >>> document_of({"id": "mediawiki:page#3.1"}), document_of({"id": "part#2/pairs.tsv:7", "origin": "user"})
    ('mediawiki:page', 'part#2/pairs.tsv:7')
    """
    name: str = item["id"]
    return name if item.get("origin") == OWN_FILE else name.rpartition("#")[0] or name


def check_documents(tests: Iterable[Items], setting: str) -> None:
    """Raises InputError where `setting` asks for documents and no two items of any test set are of one."""
    sets = [items for items in tests if items]
    if sets and all(len(set(map(document_of, items))) == len(items) for items in sets):
        first = sets[0][0]["id"]
        raise InputError(
            f"{setting}: each test item is a document of its own, as in a file of your own (the first is {first}); leave it "
            "out, or score text files with their documents: python -m eval.score --documents FILE"
        )


def groups_of(items: Items, by_document: bool) -> NDArray[np.int64]:
    """(n,) the number of each item's document, or of the item."""
    return group_numbers(list(map(document_of, items))) if by_document else np.arange(len(items))


def compare_systems(
    before: dict[str, Any],
    after: dict[str, Any],
    seed: int,
    resamples: int = RESAMPLES,
    *,
    by_document: bool = False,
) -> dict[str, Any]:
    """after - before of every metric, overall, per language and per origin, and of the probes: intervals by bootstrap, and
    a two-sided p by approximate randomisation. `by_document` draws whole documents, whose items are not independent.

    Raises ValueError for different test items.
    """
    same = [[(item["id"], references_of(item)) for item in system["items"]] for system in (before, after)]
    if same[0] != same[1]:
        raise ValueError(
            f"{before['system']} and {after['system']} were evaluated on different test items; evaluate both again"
        )
    first, second = (statistics(system["items"], system["target_language"]) for system in (before, after))
    differences = {}
    for key, rows in slices(before["items"]).items():
        groups = groups_of([before["items"][row] for row in rows], by_document)
        own, other = ({name: values[rows] for name, values in one.items()} for one in (first, second))
        differences[key] = compare_scores([(own, other, groups)], seed, resamples)
    both = "probes" in before and "probes" in after
    probes = compare_probes(before["probes"], after["probes"], seed, resamples) if both else None
    return {"before": before["system"], "after": after["system"], "slices": differences, "probes": probes}


def compare_scores(corpora: Sequence[Corpus], seed: int, resamples: int) -> dict[str, dict[str, Any]]:
    """after - before of every score that all have, as a mean over corpora: interval by bootstrap and p by randomisation, both
    of groups inside each corpus.
    """
    names = shared_keys(rows for before, after, _ in corpora for rows in (before, after))

    def with_draws(name: str, draws: Sequence[Array]) -> list[tuple[Array, Array, Array]]:
        return [
            (before[name], after[name], own) for (before, after, _), own in zip(corpora, draws, strict=True)
        ]

    counts = [
        cluster_counts(groups, corpus_generator(place, seed), resamples)
        for place, (_, _, groups) in enumerate(corpora)
    ]
    changes = {name: asdict(macro_bootstrap(with_draws(name, counts), score_of(name))) for name in names}
    del counts  # as large as what follows
    swaps = [
        random_swaps(groups, corpus_generator(place, seed), resamples)
        for place, (_, _, groups) in enumerate(corpora)
    ]
    for name in names:
        changes[name]["p_randomised"] = macro_randomisation_p(with_draws(name, swaps), score_of(name))
    return changes


def corpus_generator(corpus: int, seed: int) -> np.random.Generator:
    """What draws the items of the corpus in this place; those of the first are as if it were alone."""
    return np.random.default_rng([seed, 0, corpus])


def rank_systems(
    systems: Sequence[dict[str, Any]], seed: int, rounds: int, *, by_document: bool = False
) -> dict[str, dict[str, int]]:
    """metric -> the rank of each system by name, on the same items (eval/metrics/ranking.py)."""
    items = systems[0]["items"]
    swaps = random_swaps(groups_of(items, by_document), np.random.default_rng(seed), rounds)
    rows = {one["system"]: statistics(one["items"], one["target_language"]) for one in systems}
    better = {name: own["better"] for one in systems for name, own in one.get("learned", {}).items()}
    return rank_statistics(rows, swaps, better)


def rank_statistics(
    rows: Mapping[str, Mapping[str, Array]], swaps: Array, better: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """metric -> the rank of each system by name, by every metric that all have: system -> metric -> (n, k) statistics.
    `better`: -1 for a metric of which a lower score is better.
    """
    result = {}
    for metric in shared_keys(rows.values()):
        score = score_of(metric)
        p_values = {
            frozenset(pair): randomisation_p(rows[pair[0]][metric], rows[pair[1]][metric], score, swaps)
            for pair in combinations(rows, 2)
        }
        sign = better.get(metric, 1)
        scores = {name: sign * float(score(own[metric].sum(axis=0))) for name, own in rows.items()}
        result[metric] = ranks(scores, p_values)
    return result


def write_system(run: Path, system: dict[str, Any], test: str = "", place: Place = results_folder) -> None:
    """Write `<system>.json` of a test set of a run folder."""
    write_json(place(run, test) / f"{system['system']}.json", system)


def write_comparison(
    run: Path, seed: int, resamples: int, test: str = "", *, by_document: bool = False
) -> dict[str, Any]:
    """Compare the systems on a test set pair by pair and write its `comparison.json`."""
    folder = results_folder(run, test)
    comparison = comparison_of(folder, read_systems(folder, SYSTEMS), PAIRS, seed, resamples, by_document)
    write_json(folder / "comparison.json", comparison)
    return comparison


def write_added_comparison(
    run: Path, seed: int, resamples: int, test: str, *, by_document: bool = False
) -> None:
    """Compare each added system on a test set with what the run has trained, and the untouched model with it: the
    file `comparison.json` beside the added systems. Without an added system there is no file.
    """
    folder = added_folder(run, test)
    added_systems = read_systems(folder, added_names(run, test))
    own = read_systems(results_folder(run, test), SYSTEMS)
    if not added_systems or not own:
        return
    pairs = [pair for name in added_systems for pair in ((name, list(own)[-1]), ("untouched", name))]
    comparison = comparison_of(folder, own | added_systems, pairs, seed, resamples, by_document)
    write_json(folder / "comparison.json", comparison)


def comparison_of(
    folder: Path,
    systems: dict[str, Json],
    pairs: Sequence[tuple[str, str]],
    seed: int,
    resamples: int,
    by_document: bool = False,
) -> dict[str, Any]:
    """The comparison of those `pairs` of which both are there, and the ranks of all in them; `folder` is named where one
    is damaged.
    """
    full_pairs = [(before, after) for before, after in pairs if before in systems and after in systems]
    again = "remove it and run the evaluation again"
    comparisons = []
    for pair in full_pairs:
        with named_damage(f"{folder}: {' or '.join(f'{name}.json' for name in pair)} is damaged", again):
            before, after = (systems[name] for name in pair)
            comparisons.append(compare_systems(before, after, seed, resamples, by_document=by_document))
    names = [name for name in systems if any(name in pair for pair in full_pairs)]
    with named_damage(f"{folder}: {' or '.join(f'{name}.json' for name in names)} is damaged", again):
        known_systems = [systems[name] for name in names]
        ranking = rank_systems(known_systems, seed, resamples, by_document=by_document) if names else {}
    return {
        "method": "paired bootstrap, 95 % percentile interval; approximate randomisation",
        "by": "document" if by_document else "item",
        "resamples": resamples,
        "seed": seed,
        "pairs": comparisons,
        "ranks": ranking,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write readable UTF-8 JSON atomically; NaN is refused."""
    atomic_write_text(path, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
