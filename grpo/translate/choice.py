"""Chooses the best of several outputs of a line by a term that needs no reference text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.documents import read_object
from data.errors import InputError
from data.script import known_script
from grpo.translate.decoding import Candidates
from grpo.translate.policy import Policy
from reward.copying import uncopied
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder
from reward.fit import GOOD_PAIR_AUC, below
from reward.repetition import unrepeated
from reward.script import script

FIT = "encoder_fit.json"  # of a run folder: how well the reward's encoder knows the languages
# sources (n), candidates (n) -> scores of all candidates in their order, (n * samples,) fp64
Term = Callable[[Sequence[str], Sequence[Candidates]], Tensor]


def pairs_of(sources: Sequence[str], found: Sequence[Candidates]) -> tuple[list[str], list[str]]:
    """The source and the text of every candidate."""
    pairs = [(source, text) for source, own in zip(sources, found, strict=True) for text in own.texts]
    return [source for source, _ in pairs], [text for _, text in pairs]


def logprob(sources: Sequence[str], found: Sequence[Candidates]) -> Tensor:
    """The policy's own mean log-probability a token."""
    return torch.tensor([value for own in found for value in own.logps], dtype=torch.float64)


def consistency(policy: Policy) -> Term:
    """The guards of the reward that need no reference text: the target script, nothing repeated, the source not copied."""
    target_script = known_script(policy.kind[1])
    min_share = float(policy.settings["reward.min_share"])

    def score(sources: Sequence[str], found: Sequence[Candidates]) -> Tensor:
        own_sources, texts = pairs_of(sources, found)
        nothing = [[""] for _ in texts]
        in_script = script(own_sources, texts, nothing, target_script=target_script, min_share=min_share)
        fresh = unrepeated(own_sources, texts, [[source] for source in own_sources])
        return (in_script * fresh * uncopied(own_sources, texts, nothing)).double()

    return score


def cosine(policy: Policy, cache: Path, device: torch.device) -> Term:
    """The cosine of source and output, by the encoder of the run's reward, times `consistency`: a copy of the source
    would be nearest. Raises InputError where it is not known that the encoder reads both languages.
    """
    name = str(policy.settings["reward.encoder"])
    check_reads_both(policy, name)
    store = EmbeddingStore(load_encoder(name, cache, device), None)
    guards = consistency(policy)

    def score(sources: Sequence[str], found: Sequence[Candidates]) -> Tensor:
        rows, outputs = (store.embed(texts).double() for texts in pairs_of(sources, found))
        return (rows * outputs).sum(dim=1).clamp_min(0) * guards(sources, found)

    return score


def check_reads_both(policy: Policy, encoder: str) -> None:
    """InputError where the run has not measured that its encoder finds the reference text of a source."""
    advice = "choose by logprob or consistency"
    if policy.run is None or not (policy.run / FIT).is_file():
        raise InputError(
            f"--choose-by cosine: {policy.folder} lies in no run folder with {FIT}, so no encoder is known to read "
            f"both languages; {advice}"
        )
    auc = read_object(policy.run / FIT).get("pair_auc")
    if not isinstance(auc, float):
        raise InputError(f"{policy.run / FIT}: pair_auc = {auc!r} is no number; {advice}")
    if auc < GOOD_PAIR_AUC:
        raise InputError(
            f"--choose-by cosine: the encoder {encoder} does not read both languages: it finds the reference text of "
            f"a source with AUC {below(auc, GOOD_PAIR_AUC)}, and {GOOD_PAIR_AUC} is needed; {advice}"
        )


TERMS: Mapping[str, Callable[[Policy, Path, torch.device], Term]] = {
    "logprob": lambda policy, cache, device: logprob,
    "consistency": lambda policy, cache, device: consistency(policy),
    "cosine": cosine,
}


def choose(term: Term, sources: Sequence[str], found: Sequence[Candidates]) -> list[tuple[int, float]]:
    """(place, score) of the best candidate of each source. A text is better than none; of equal scores the likelier
    candidate counts, then the first.
    """
    scores = iter(term(sources, found).tolist())
    best = []
    for own in found:
        rows = [(bool(text), next(scores), logp) for text, logp in zip(own.texts, own.logps, strict=True)]
        place = max(range(len(rows)), key=lambda n: (rows[n], -n))
        best.append((place, rows[place][1]))
    return best
