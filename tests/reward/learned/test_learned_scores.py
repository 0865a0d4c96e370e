"""Scores of learned metrics: equal to the reference packages, whatever the batch, the order and the cache."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_folders import marking_folder, metric_folder
from transformers import AutoModel, AutoTokenizer

from benchmarks.metrics import LARGEST_GAP, PEERS, gaps, named_metrics
from benchmarks.tiny_metrics import NAMES, segments, write_checkpoint
from data.errors import InputError
from reward.learned.heads import mixed_states, sparsemax
from reward.learned.scores import Metrics, Scorer, open_scorer
from reward.learned.unified import error_spans, in_characters, joined_ids

CPU = torch.device("cpu")
# what unbabel-comet 2.2.7, bleurt-pytorch 0.0.1 and transformers 4.57.6 give for segments(5, seed=4)
PEER_SCORES = {
    "comet": [-0.514859, -0.487328, -0.649616, -0.508859, 0.074648],
    "comet_norm": [0.483523, 0.529698, 0.438383, 0.604055, 0.663924],
    "comet_layer": [0.494078, 0.409961, 0.308606, -0.062417, 0.409884],
    "cometkiwi": [-0.136826, -0.263594, -0.282975, -0.315939, -0.241883],
    "unite": [0.170418, 0.108229, 0.083997, 0.197861, 0.184381],
    "unite_qe": [0.281252, 0.144046, 0.116737, 0.098175, 0.202556],
    "xcomet": [-0.08382, -0.068912, 0.460694, -0.269434, -0.169781],
    "xcomet_qe": [0.174274, -0.154896, 0.857817, -0.18665, -0.180015],
    "metricx": [9.785447, 10.189016, 8.680717, 6.540008, 14.914619],
    "metricx_qe": [6.066763, 9.493526, 11.914662, 10.484325, 13.054105],
    "bleurt": [-0.765328, -0.647368, -0.672779, -0.59075, -0.734935],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics")


def scorer_of(place: Path, name: str) -> Scorer:
    return open_scorer(str(metric_folder(place, name)), CPU)


def columns(rows: Sequence[dict[str, str]]) -> tuple[list[str], list[str], list[list[str]]]:
    return [row["src"] for row in rows], [row["mt"] for row in rows], [[row["ref"]] for row in rows]


@pytest.mark.parametrize("name", PEER_SCORES)
def test_scores_equal_those_of_the_reference_packages(name: str, place: Path) -> None:
    sources, outputs, references = columns(segments(5, seed=4))
    if name.endswith("_qe"):
        references = [[] for _ in outputs]
    found = scorer_of(place, name.removesuffix("_qe")).scores(sources, outputs, references)
    torch.testing.assert_close(found, torch.tensor(PEER_SCORES[name]), atol=5e-5, rtol=0)


REAL = os.environ.get("SEMANTIC_GRPO_METRICS", "")  # "comet=CHECKPOINT,BASE ...": the user's own metrics


@pytest.mark.real
def test_a_thousand_scores_equal_those_of_the_reference_packages(tmp_path: Path) -> None:
    if not PEERS.exists():
        pytest.skip("the reference packages are not installed beside the project; type: make bench-metrics")
    metrics = named_metrics(REAL.split()) or {
        name: write_checkpoint(name, tmp_path / name, tmp_path / "bases") for name in NAMES
    }
    assert max(gaps(metrics, segments(1000), PEERS, tmp_path).values()) <= LARGEST_GAP


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_the_texts_around_it(name: str, place: Path) -> None:
    rows = segments(40, seed=1)
    sources, outputs, references = columns(rows)
    together = scorer_of(place, name).scores(sources, outputs, references)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = scorer_of(place, name).scores(*columns([rows[i] for i in order]))
    alone = scorer_of(place, name)
    single = torch.cat([alone.scores(*columns([row])) for row in rows[:10]])
    assert together.std() > 0.01
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(single, together[:10], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["comet", "xcomet", "metricx", "bleurt"])
def test_bf16_moves_a_score_a_little_and_not_by_its_batch(name: str, place: Path) -> None:
    """bf16 rounds to 8 bits, 0.4 %; a score stays a function of its own segment, and its signature says so."""
    rows = segments(12, seed=1)
    folder = str(metric_folder(place, name))
    exact = open_scorer(folder, CPU)
    rounded = open_scorer(folder, CPU, "bf16")
    together = rounded.scores(*columns(rows))
    gap = (together - exact.scores(*columns(rows))).abs()
    assert 0 < gap.max() < (1 if name == "metricx" else 0.05)
    single = torch.cat([open_scorer(folder, CPU, "bf16").scores(*columns([row])) for row in rows[:3]])
    torch.testing.assert_close(single, together[:3], atol=1e-5, rtol=0)
    assert rounded.signature != exact.signature


def test_equal_segments_are_scored_once_and_kept(place: Path) -> None:
    scorer = scorer_of(place, "cometkiwi")
    first = scorer.scores(["ab", "ab", "cd"], ["x", "x", "x"], [[], ["unread"], []])
    again = scorer.scores(["cd"], ["x"], [[]])
    assert (scorer.num_requested, scorer.num_scored) == (4, 2)
    assert first[0] == first[1] != first[2] == again[0]


def test_the_cache_forgets_the_oldest(place: Path) -> None:
    scorer = scorer_of(place, "cometkiwi")
    scorer.capacity = 1
    for text in ("a", "b", "b", "a"):
        scorer.scores([text], ["x"], [[]])
    assert scorer.num_scored == 3


def test_the_best_of_several_reference_texts_counts(place: Path) -> None:
    texts = ["abc d", "打 开", "q"]
    for name, best in (("comet", max), ("metricx", min)):
        scorer = scorer_of(place, name)
        each = [scorer.scores(["s"], ["abc"], [[text]]).item() for text in texts]
        assert len({round(one, 4) for one in each}) == 3
        assert scorer.scores(["s"], ["abc"], [texts]).item() == best(each)


def test_a_reward_is_higher_for_a_better_score(place: Path) -> None:
    parts = columns(segments(5, seed=4))
    errors = scorer_of(place, "metricx").scores(*parts)
    torch.testing.assert_close(scorer_of(place, "metricx").rewards(*parts), 1 - errors / 25)
    scorer = scorer_of(place, "comet")
    assert torch.equal(scorer.rewards(*parts), scorer.scores(*parts))


def test_one_model_at_a_time(place: Path) -> None:
    folders = {name: str(metric_folder(place, name)) for name in ("comet", "cometkiwi")}
    metrics = Metrics(folders, CPU, one_at_a_time=True)
    first = metrics["comet"].scores(["a"], ["b"], [["c"]])
    metrics["cometkiwi"].scores(["a"], ["b"], [[]])
    models = [scorer._metric for scorer in metrics._scorers.values()]
    assert models[0] is None
    assert models[1] is not None
    # from the cache, without its model
    assert torch.equal(metrics["comet"].scores(["a"], ["b"], [["c"]]), first)
    assert metrics["comet"].scores(["a"], ["bb"], [["c"]]).isfinite().all()


def test_comet_by_hand(place: Path) -> None:
    """The steps of the paper in numpy, over transformers' own hidden states of one text at a time."""
    from safetensors.numpy import load_file

    folder = metric_folder(place, "comet")
    head = load_file(folder / "head.safetensors")
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scalars = np.concatenate([head[f"layerwise_attention.scalar_parameters.{i}"] for i in range(3)]).astype(
        float
    )
    shares = simplex_projection(scalars)

    def vector(text: str) -> np.ndarray:
        with torch.no_grad():
            states = model(
                torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True
            ).hidden_states
        mixed = sum(share * state[0].double().numpy() for share, state in zip(shares, states, strict=True))
        return (head["layerwise_attention.gamma"] * mixed).mean(axis=0)

    for row in segments(5, seed=4):
        source, output, reference = (vector(row[key]) for key in ("src", "mt", "ref"))
        values = np.concatenate(
            [
                output,
                reference,
                output * reference,
                abs(output - reference),
                output * source,
                abs(output - source),
            ]
        )
        for i in (0, 3):
            values = np.tanh(head[f"estimator.ff.{i}.weight"] @ values + head[f"estimator.ff.{i}.bias"])
        expected = head["estimator.ff.6.weight"] @ values + head["estimator.ff.6.bias"]
        found = scorer_of(place, "comet").scores(*columns([row]))
        assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def simplex_projection(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex, by bisection on the threshold whose excesses sum to 1."""
    low, high = scores.min() - 1, scores.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - low, 0)


@pytest.mark.parametrize("seed", range(5))
def test_sparsemax_is_the_nearest_point_of_the_simplex(seed: int) -> None:
    scores = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    np.testing.assert_allclose(sparsemax(scores).numpy(), simplex_projection(scores.numpy()), atol=1e-12)


def test_a_mix_of_standardised_states_ignores_padding() -> None:
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(1, 5, 4, generator=draw) for _ in range(2)]
    mask = torch.tensor([[True, True, True, False, False]])
    found = mixed_states(states, mask, torch.tensor([0.3, 0.7]), True)[0, :3]
    parts = [state[0, :3].double().numpy() for state in states]
    expected = sum(
        share * (part - part.mean()) / part.std() for share, part in zip((0.3, 0.7), parts, strict=True)
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_spans_begin_with_their_first_label_and_end_before_a_right_token() -> None:
    labels = [0, 1, 3, 0, 2, 2, 0, 0, 1]
    spans = error_spans(torch.eye(4)[labels])
    assert [(span.start, span.end, span.label) for span in spans] == [(1, 3, "minor"), (4, 6, "major")]


def test_a_span_has_the_mean_probability_of_its_labels() -> None:
    rows = torch.tensor([[0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7], [0.9, 0.1, 0.0, 0.0]])
    (span,) = error_spans(rows)
    assert (span.start, span.end, span.label) == (0, 2, "minor")
    assert span.confidence == pytest.approx(0.65)
    assert in_characters(span, "dog barks", [(0, 3), (3, 9), (0, 0)]).text == "dog barks"


def test_judgements_are_the_scores_with_the_errors_of_the_best_reference_text(tmp_path: Path) -> None:
    scorer = open_scorer(str(marking_folder(tmp_path)), CPU)
    sources, outputs, references = columns(segments(12, seed=4))
    other = references[1:] + references[:1]
    both = [[*own, *more] for own, more in zip(references, other, strict=True)]
    scores, errors = scorer.judgements(sources, outputs, both)
    torch.testing.assert_close(scores, scorer.scores(sources, outputs, both), atol=1e-6, rtol=0)
    each = [scorer.judgements(sources, outputs, texts) for texts in (references, other)]
    best = torch.stack([values for values, _ in each]).argmax(dim=0).tolist()

    def places(row: int, number: int) -> list[tuple[int, int, str]]:
        return [(one.start, one.end, one.severity) for one in each[number][1][row]]

    assert [[(one.start, one.end, one.severity) for one in own] for own in errors] == [
        places(row, number) for row, number in enumerate(best)
    ]
    assert any(errors)
    with pytest.raises(ValueError, match="cometkiwi marks no errors"):
        open_scorer(str(metric_folder(tmp_path, "cometkiwi")), CPU).judgements(sources, outputs, both)


def test_joined_texts_are_cut_at_the_last_position() -> None:
    assert joined_ids([[0, 5, 2], [0, 6, 2], [0, 7, 8, 2]], 99) == [0, 5, 2, 2, 6, 2, 2, 7, 8, 2]
    assert joined_ids([[0, 5, 2], [0, 6, 2], [0, 7, 8, 2]], 8) == [0, 5, 2, 2, 6, 2, 2, 7]


def test_weights_of_another_metric_are_one_sentence(place: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(metric_folder(place, "comet"), mixed)
    shutil.copyfile(metric_folder(place, "bleurt") / "model.safetensors", mixed / "model.safetensors")
    with pytest.raises(
        InputError, match=r"has shape \(.*\), and config\.json asks for \(.*; take both files"
    ):
        open_scorer(str(mixed), CPU).scores(["a"], ["b"], [["c"]])


def test_the_folder_says_what_it_is(place: Path) -> None:
    facts = json.loads((metric_folder(place, "comet") / "metric.json").read_text())
    assert (facts["family"], facts["mix"], facts["hidden_sizes"]) == ("comet", "sparsemax", [24, 12])
