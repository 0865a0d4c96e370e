"""Distils an encoder from the pairs of a run's own corpus, for the language that its model is to write.

The teacher knows the language of the sources; the student learns to give a reference text the vector of its
source. It learns from the parts warm start and train. Dev and test, and pairs near them, are kept out and
give the figures.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.cache import atomic_folder
from data.documents import user_path
from data.errors import InputError
from data.examples import Example
from data.prepare import prepare
from data.script import known_script
from reward.distil.config import DistilConfig, read_data_section
from reward.distil.corpus import cluster_labels, texts_of
from reward.distil.identity import CODE, Say, folder_of
from reward.distil.retrieval import figure_lines, retrieval
from reward.distil.training import train_student
from reward.encoder import BY_NAME, Encoder, load_encoder
from reward.encoders.student import FACTS_FILE, Student, StudentEncoder, save_student
from reward.fit import MIN_CUT_AUC, below, measure_fit

LEAST_UPDATES = 150  # of the student; a small corpus is read as often as that takes
LEAST_PAIRS = 200


@dataclass(frozen=True)
class OwnPairs:
    """Pairs to learn from, pairs to measure on, the language and script of the reference texts, and the
    hashes of the parts.
    """

    train: tuple[Example, ...]
    evaluation: tuple[Example, ...]
    language: str
    script: str
    hashes: dict[str, str]


def distil_own_pairs(config: DistilConfig, cache: Path, say: Say = print) -> Path:
    """The folder of the student of the run `pairs.run`, made on the first call; `reward.encoder` takes it.
    Raises InputError.
    """
    pairs = read_pairs(config, cache, say)
    teacher = load_encoder(config.teacher, cache, torch.device("cpu"))
    identity = {"config": asdict(config), "parts": pairs.hashes, "code": CODE, "teacher": teacher.fingerprint}
    folder = folder_of(cache, pairs.language, identity)
    if (folder / FACTS_FILE).exists():
        say(f"done before: {folder}")
        return folder
    check_teacher(config.teacher, teacher, pairs, say)
    student, facts = make_student(config, teacher, pairs, say)
    with atomic_folder(folder) as work:
        save_student(
            student,
            teacher,
            identity | facts | {"language": pairs.language, "teacher_name": full_name(config.teacher)},
            work,
        )
    return folder


def full_name(encoder: str) -> str:
    """The name of an encoder, independent of the working folder."""
    return encoder if encoder in BY_NAME else str(user_path(encoder).resolve())


def read_pairs(config: DistilConfig, cache: Path, say: Say) -> OwnPairs:
    """Read the pairs of the run `pairs.run`, without those near dev and test of it or of the runs to keep
    out. Raises InputError.
    """
    data = read_data_section(Path(config.pairs.run))
    if len(data.completion_languages) > 1:
        raise InputError(
            f"{config.pairs.run}: its corpora have the target languages {', '.join(data.completion_languages)}, and an "
            "encoder is of one; name the configuration of a run into one of them"
        )
    corpus = prepare(data, cache, say)
    evaluation = [*corpus.dev, *corpus.test]
    others = list[Example]()
    hashes = {part: facts["sha256"] for part, facts in corpus.manifest["splits"].items()}
    for name in config.pairs.keep_out:
        other = prepare(read_data_section(Path(name)), cache, lambda _: None)
        others += [*other.dev, *other.test]
        hashes |= {f"{name}: {part}": other.manifest["splits"][part]["sha256"] for part in ("dev", "test")}
    candidates = [*corpus.warm_start, *corpus.train]
    kept_out = [*evaluation, *others]
    labels = cluster_labels(
        [*map(texts_of, candidates), *map(texts_of, kept_out)], config.pairs.near_duplicate
    )
    near = set(labels[len(candidates) :])
    train = tuple(example for example, label in zip(candidates, labels, strict=False) if label not in near)
    say(
        f"pairs: {len(train)} to learn from ({len(candidates) - len(train)} are near to what is kept out), "
        f"{len(evaluation)} for the figures"
    )
    if len(train) < LEAST_PAIRS or len(evaluation) < 2:
        raise InputError(
            f"{config.pairs.run}: an encoder needs {LEAST_PAIRS} pairs to learn from and 2 to measure on, "
            f"here are {len(train)} and {len(evaluation)}"
        )
    return OwnPairs(
        train, tuple(evaluation), data.completion_language, known_script(data.completion_language), hashes
    )


def check_teacher(name: str, teacher: Encoder, pairs: OwnPairs, say: Say) -> None:
    """Print how well the teacher knows the sources. Raises InputError where it cannot tell them apart, so
    that it cannot teach.
    """
    fit = measure_fit(teacher.encode, [e.source for e in pairs.train], [e.reference for e in pairs.train])
    if fit is None:
        return
    if fit.sources.cut_auc < MIN_CUT_AUC:
        raise InputError(
            f"teacher = {name!r}: it cannot tell the source texts apart (AUC {below(fit.sources.cut_auc, MIN_CUT_AUC)}, "
            f"{MIN_CUT_AUC} is needed), so it has nothing to teach; name an encoder that knows their language"
        )
    if not fit.sources.is_known:
        say(
            f"WARNING: teacher = {name!r} may not know the source language: unrelated texts have a cosine "
            f"of {fit.sources.unrelated:.2f}"
        )


def make_student(
    config: DistilConfig, teacher: Encoder, pairs: OwnPairs, say: Say
) -> tuple[Student, dict[str, Any]]:
    """Train a student on these pairs and measure it: a pure function of the arguments."""
    texts, targets = training_targets(pairs.train, teacher)
    student = Student(
        config.student.width,
        config.student.hidden,
        torch.Generator().manual_seed(config.seed),
        script=pairs.script,
        dim=teacher.dim,
    )
    updates = -(-len(texts) // config.training.batch_size)
    training = replace(config.training, epochs=max(config.training.epochs, -(-LEAST_UPDATES // updates)))
    say(f"student: {len(texts)} texts, {training.epochs} epochs of {updates} updates")
    train_student(student, texts, targets, training, config.seed, say)
    return student, {
        "figures": figures(student, teacher, pairs.evaluation),
        "pairs": {"train": len(texts), "judged": len(pairs.evaluation)},
    }


def training_targets(examples: Sequence[Example], teacher: Encoder) -> tuple[list[str], Tensor]:
    """Each reference text once, and its target: the mean vector of its source texts at unit length (n, D)."""
    sources: dict[str, list[str]] = {}
    for example in examples:
        for text in example.references:
            sources.setdefault(text, []).append(example.source)
    sources_once = list(dict.fromkeys(source for some in sources.values() for source in some))
    place = {source: row for row, source in enumerate(sources_once)}
    vectors = teacher.encode(sources_once)
    targets = torch.stack(
        [vectors[[place[source] for source in some]].mean(dim=0) for some in sources.values()]
    )
    return list(sources), F.normalize(targets, dim=1)


def figures(
    student: Student, teacher: Encoder, examples: Sequence[Example]
) -> dict[str, dict[str, dict[str, float]]]:
    """Retrieval of each source by its reference text, by the student and by the teacher as the baseline:
    ready for JSON.
    """
    answers = teacher.encode([example.source for example in examples])
    texts = [example.reference for example in examples]
    rows = {"student": student.rows(texts), "teacher": teacher.encode(texts)}
    return {
        name: {"dev and test, to their source": asdict(retrieval(vectors, answers))}
        for name, vectors in rows.items()
    }


def describe(encoder: StudentEncoder) -> list[str]:
    """The figures of a finished student, one line each."""
    facts = encoder.facts
    head = f"student of {facts['pairs']['train']} texts in {facts['language']}"
    return [head, *figure_lines(facts["figures"])]
