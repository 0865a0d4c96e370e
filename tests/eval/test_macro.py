"""The macro average over corpora: its interval, and a study whose points are of two corpora."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_points import even, invented_study, study_report, target_items

from data.errors import InputError
from eval.macro import compare_averages, macro_result
from eval.metrics.significance import (
    macro_bootstrap,
    mean_statistics,
    ratio_of_sums,
    resample_counts,
)
from eval.preference.pairs import make_pairs, read_outputs
from eval.run_folder import results_by_corpus
from eval.study.estimates import result_scores
from eval.study.points import check_same, identities
from eval.systems import compare_systems

Json = dict[str, Any]


def test_the_interval_of_an_average_agrees_with_the_normal_approximation() -> None:
    """Two corpora of unequal size and spread: the error of their mean is half the root of the summed squares."""
    generator = np.random.default_rng(5)
    gains = [generator.normal(0.05, 0.1, 400), generator.normal(-0.01, 0.4, 100)]
    corpora = [
        (
            mean_statistics(np.zeros(len(own))),
            mean_statistics(own),
            resample_counts(len(own), generator, 20_000),
        )
        for own in gains
    ]
    result = macro_bootstrap(corpora, ratio_of_sums)
    mean = (gains[0].mean() + gains[1].mean()) / 2
    error = math.hypot(*(own.std(ddof=1) / math.sqrt(len(own)) for own in gains)) / 2
    assert (result.difference, result.n) == (pytest.approx(mean), 100)
    assert result.low == pytest.approx(mean - 1.96 * error, abs=0.05 * error)
    assert result.high == pytest.approx(mean + 1.96 * error, abs=0.05 * error)


def test_the_average_of_one_corpus_is_its_own_score() -> None:
    systems = [point["target"] for point in invented_study()[1:4:2]]
    averages = compare_averages({"a": systems[0]}, {"a": systems[1]}, seed=3, resamples=40)
    assert averages["slices"]["all"] == compare_systems(*systems, seed=3, resamples=40)["slices"]["all"]


def half_as_good(target: Json) -> Json:
    """Six items with half the score of the target's, in another language."""
    score = target["items"][0]["cosine_held_out"]
    return target | {"target_language": "bo", "items": target_items(even(score / 2, 6))}


def mixed_study() -> list[Json]:
    points = invented_study()
    for point in points:
        both = {"a": point["target"], "b": half_as_good(point["target"])}
        for name, result in both.items():
            both[name] = result | {"items": [one | {"id": f"{name}/{one['id']}"} for one in result["items"]]}
        point["target"] = macro_result(both)
    return points


def test_each_corpus_of_a_study_counts_as_much_and_has_rows_of_its_own(tmp_path: Path) -> None:
    _, text, figures = study_report(tmp_path, mixed_study())
    rows = {(row["arm"], row["step"]): row for row in figures["checkpoints"]}
    row = rows["grpo", 20]
    # 0.5 and 0.25 from 0.3 and 0.15; over all 18 items the score would be 0.4167 and the gain 0.1667
    assert row["metrics"]["cosine_held_out"]["value"] == pytest.approx(0.375)
    assert row["gains"]["cosine_held_out"]["value"] == pytest.approx(0.15)
    assert row["corpora"]["b"]["metrics"]["cosine_held_out"]["value"] == pytest.approx(0.25)
    assert row["corpora"]["b"]["gains"]["cosine_held_out"]["value"] == pytest.approx(0.1)
    assert {name: facts["n"] for name, facts in figures["corpora"].items()} == {"a": 12, "b": 6}
    for title in (
        "Scores on 18 test items",
        "Scores on 12 test items of a",
        "Gain over the warm start of b",
        "Too few for a verdict: 12 test items of a and 6 test items of b and 12 general texts",
    ):
        assert title in text


def test_another_task_may_have_several_corpora_too() -> None:
    """The first untouched point and warm start: macro scores of 0 and of (0.3 + 0.15) / 2."""
    documents = mixed_study()[:2]
    found = [result_scores(one, "file", resamples=20, seed=1)["cosine_held_out"][0] for one in documents]
    assert found == pytest.approx([0, 0.225])
    check_same("test items", [("task", one["arm"], identities(one["target"])) for one in documents])
    documents[1]["target"]["corpora"]["b"]["items"].pop()
    with pytest.raises(InputError, match="warm_start: other test items than untouched"):
        check_same("test items", [("task", one["arm"], identities(one["target"])) for one in documents])


def test_damage_names_the_corpus(tmp_path: Path) -> None:
    points = mixed_study()
    points[2]["target"]["corpora"]["b"]["items"][1].pop("cosine")
    with pytest.raises(InputError, match=r"target\.corpora\.b\.items\[1\] has no number 'cosine'"):
        study_report(tmp_path, points)


def test_outputs_on_several_corpora_are_judged_each_in_its_language(tmp_path: Path) -> None:
    files = []
    for point in mixed_study()[1:3]:
        files.append(tmp_path / f"{point['arm']}.json")
        files[-1].write_text(json.dumps(point), encoding="utf-8")
    pairs = make_pairs(*map(read_outputs, files))
    languages = {pair.id.split("/")[0]: pair.target_language for pair in pairs}
    assert len(pairs) == 18 and languages == {"a": "zh", "b": "bo"}


def test_a_result_on_one_corpus_stays_as_it_is() -> None:
    target = invented_study()[0]["target"]
    assert macro_result({"": target}) is target and results_by_corpus(target) == {"": target}
