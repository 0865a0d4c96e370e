"""What every stage of a run needs, and what several stages derive from it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from data.cache import atomic_write_text
from data.checksums import sha256_of
from data.console import silent
from data.errors import InputError
from data.examples import Example
from data.prepare import Corpus, prepare
from data.prompt import Prompt
from data.prompt_record import check_chat, check_wording
from data.records import examples_where
from data.saved_prompt import model_ends
from data.shots import take_shots
from data.split import PARTS
from data.template import Wording
from eval.study.layout import snapshot_folder
from grpo.config import DEFAULT_POLICY, Config
from grpo.engine.extended import EXTENSION, extend
from grpo.engine.fused_layers import fuse_after_trial, is_fused
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.greedy import DecodeSettings, batches_by_length, greedy_outputs
from grpo.engine.model import check_rows, load_frozen, load_policy, load_tokenizer
from grpo.engine.pretrained import gemma_folder
from grpo.engine.sharding import is_sharded
from grpo.engine.source import ModelSource
from grpo.runtime.device import Compute
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.run_folder import corpus_facts, holds_work
from grpo.stages.lengths import PROMPT, fit
from reward.encoders.folder import model_files


@dataclass(frozen=True)
class Run:
    """What every stage needs: the configuration, the run folder, the cache, the device, the stop request, the
    print function, the process group.
    """

    config: Config
    folder: Path
    cache: Path
    compute: Compute
    stop: StopRequest
    say: Callable[[str], None]
    world: World = SINGLE_PROCESS
    language: str = ""  # of several target languages the one that this is about; "" = of all

    @property
    def target_language(self) -> str:
        """What the model is to write."""
        return self.language or self.config.data.completion_language

    def facts(self, name: str) -> Path:
        """A file of measured figures in the run folder, with the language in its name where this is about one of
        several.
        """
        path = self.folder / name
        return path.with_name(f"{path.stem}.{self.language}{path.suffix}") if self.language else path

    def is_stopping(self) -> bool:
        """Whether any process was asked to stop; the same answer in all, which call it together."""
        number = int(self.world.largest({"signal": float(self.stop.signal or 0)})["signal"])
        if number:
            self.stop.heed(number)
        return number > 0

    @property
    def is_silent(self) -> bool:
        return not self.world.is_first

    @property
    def log_folder(self) -> Path:
        """The run folder; for the other processes a folder of their own in it."""
        return self.folder if self.world.is_first else self.folder / "ranks" / str(self.world.rank)

    @property
    def warm_start(self) -> Path:
        return self.folder / "warm_start"

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def best_policy(self) -> Path:
        """The policy of an earlier step that did better on the dev set than the last one, where there is one."""
        return self.folder / "policy_best"

    def snapshot(self, step: int) -> Path:
        """The model after `step` steps of the stage train, where one is saved."""
        return snapshot_folder(self.folder, step)

    def checkpoints(self, stage: str) -> Path:
        return self.folder / "checkpoints" / stage


def corpus_of(run: Run, say: Callable[[str], None] = silent) -> Corpus:
    """The prepared corpus, without the examples that stand in every prompt; from the cache when it has been made
    before. The data stage says what there is to say.

    Raises InputError where it is not the corpus that the work in the run folder was made from.
    """
    corpus = prepare(run.config.data, run.cache, say=say)
    check_unchanged(run, corpus)
    corpus = replace(corpus, train=shots_and_others(run.config, corpus)[1])
    return in_language(corpus, run.language) if run.language else corpus


def check_unchanged(run: Run, corpus: Corpus) -> None:
    """Raises InputError where a corpus is not the one that the work in the run folder was made from."""
    before = part_hashes(corpus_facts(run.folder).get("manifest"))
    now = part_hashes(corpus.manifest)
    if before not in (now, {}) and holds_work(run.folder):
        part = next(name for name in now if before.get(name) != now[name])
        raise InputError(
            f"data.corpus = {run.config.data.corpus}: the corpus has changed since this run began (part {part} differs from "
            f"{run.folder / 'corpus.json'}), and its test items may have been trained on; restore it, or write run_dir=runs/another"
        )


def in_language(corpus: Corpus, language: str) -> Corpus:
    """The pairs of a corpus with this target language."""

    def own(examples: Sequence[Example]) -> Sequence[Example]:
        return examples_where(examples, lambda one: one.target_language == language)

    parts: dict[str, Any] = {name: own(getattr(corpus, name)) for name in PARTS}
    tests = {name: own(examples) for name, examples in corpus.tests.items()}
    return replace(corpus, **parts, tests=tests)


def shots_and_others(config: Config, corpus: Corpus) -> tuple[tuple[Example, ...], Sequence[Example]]:
    """The examples of every prompt, and the rest of the training part. They follow from the seed of the corpus, so
    that all arms of a study ask in the same words.
    """
    return take_shots(corpus.train, config.prompt.shots, config.data.seed)


def part_hashes(manifest: Any) -> dict[str, str]:
    """The SHA-256 of each part that a manifest names; empty for what is no manifest."""
    splits = manifest.get("splits") if isinstance(manifest, dict) else None
    parts = splits.items() if isinstance(splits, dict) else ()
    return {
        name: facts["sha256"]
        for name, facts in parts
        if isinstance(facts, dict) and isinstance(facts.get("sha256"), str)
    }


def write_corpus_facts(run: Run, facts: dict[str, Any]) -> None:
    """Write corpus.json."""
    atomic_write_text(run.folder / "corpus.json", json.dumps(facts, ensure_ascii=False, indent=1))


def untouched_model(run: Run) -> ModelSource:
    """The model before any training, with the new pieces of model.add_pieces; its folder is made on first use."""
    base = base_model(run)
    count = run.config.model.add_pieces
    if not count:
        return base
    folder = extended_folder(run, base.files(), count)
    if not folder.exists():
        run.say(f"model: learning up to {count:,} new pieces from the reference texts of the training part")
        extend(
            base.files(), folder, chain.from_iterable(one.references for one in corpus_of(run).train), count
        )
    return ModelSource(folder)


def extended_folder(run: Run, base: Path, count: int) -> Path:
    """Where a model with new pieces lies in the cache: by its files and by the texts that the pieces come from."""
    manifest = corpus_facts(run.folder).get("manifest") or corpus_of(run).manifest
    small = (file for file in model_files(base) if file.suffix == ".json")
    facts = [
        EXTENSION,
        count,
        part_hashes(manifest).get("train"),
        run.config.prompt.shots,
        [(file.name, sha256_of(file)) for file in sorted(small)],
        [
            (file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for file in sorted(base.glob("*.safetensors"))
        ],
    ]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return run.cache / "models" / f"extended-{name}"


def base_model(run: Run) -> ModelSource:
    """The model as it was published; its folder is made from its package on first use."""
    name = run.config.model.policy
    if name == DEFAULT_POLICY:
        return ModelSource(gemma_folder(run.cache, run.config.model.vocabulary, say=run.say))
    if name.startswith("hub:"):
        return ModelSource(hub=name.removeprefix("hub:"))
    if not (Path(name) / "config.json").is_file():
        raise InputError(
            f'model.policy = "{name}": no folder with a config.json there; {what_it_may_be(name)}'
            f'write "{DEFAULT_POLICY}", a transformers folder, or "hub:owner/name"'
        )
    return ModelSource(Path(name))


def what_it_may_be(name: str) -> str:
    """The part of the sentence that refuses a model: what it is instead of a transformers folder, where that shows."""
    path = Path(name)
    if path.suffix == ".gguf" or (path.is_dir() and any(path.glob("*.gguf"))):
        return "a GGUF file can be run and not trained; "
    if (path / "adapter_config.json").is_file():
        return "it is an adapter: merge it into its base model and save that; "
    if not path.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return f'of a model hub it is "hub:{name}"; '
    return ""


def load_model(run: Run, folder: Path | ModelSource, say: Callable[[str], None] = silent) -> PreTrainedModel:
    """A model of the run on its device, with the attention that the configuration asks for; in a sharded world all
    processes load their share together.
    """
    engine = run.config.engine
    return load_policy(
        folder, run.compute.device, engine.packed_attention, run.compute.format, say, world=run.world
    )


def frozen_model(run: Run, folder: Path | ModelSource) -> PreTrainedModel:
    """A model that training only reads, where engine.frozen puts it, or this process's share of it; it computes in the
    run's format alone.
    """
    engine = run.config.engine
    model = load_frozen(
        folder,
        run.compute.device,
        engine.packed_attention,
        run.compute.format,
        is_split=engine.weights == "split",
        on_host=engine.frozen == "host",
        world=run.world,
    )
    if is_fused(engine.fuse, run.compute.device):
        fuse_after_trial(model)
    return model


def load_prompt(run: Run, source: Path | ModelSource) -> Prompt:
    """How the run asks the model of a folder: its tokenizer and the section [prompt].

    Raises InputError where a policy of the run was trained on another wording.
    """
    config = run.config
    corpus = prepare(config.data, run.cache, say=silent) if config.prompt.shots else None
    wording = Wording.of(config.prompt, shots_and_others(config, corpus)[0] if corpus else ())
    if isinstance(source, Path):
        check_wording(source, wording)
    return prompt_of(source, wording)


def prompt_of(source: Path | ModelSource, wording: Wording) -> Prompt:
    """How the model of a folder is asked in a wording. Raises InputError where its tokenizer cannot, where its chat
    template is that of a text, or where the model has no row for a token of its chat template.
    """
    tokenizer = load_tokenizer(source)
    folder = source if isinstance(source, Path) else source.files()
    check_chat(folder, wording)
    prompt = Prompt.of(tokenizer, wording, model_ends(folder, tokenizer))
    if prompt.chat:
        check_rows(folder / "config.json", prompt.chat.template_ids, tokenizer)
    return prompt


def greedy_texts(run: Run, model: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]) -> list[str]:
    """One output per example: by the settings of [eval], wherever a run decodes without randomness. The processes of
    the run, which all call it, share the batches.
    """
    world = run.world
    config = run.config.eval
    settings = DecodeSettings(
        config.max_new_tokens, prompt.stops, config.batch_size, run.config.engine.fast_decode
    )
    prompts = [prompt.encode_prompt(example) for example in examples]
    batches = world.part([*batches_by_length(prompts, config.batch_size)])
    own = [i for batch in batches for i in batch]
    has_part = bool(own) or is_sharded(model)  # passes of a sharded model need all processes
    outputs = greedy_outputs(model, prompt, [examples[i] for i in own], settings) if has_part else []
    outputs_of_all = world.merge(dict(zip(own, outputs, strict=True)))
    return [outputs_of_all[i] for i in range(len(examples))]


def trainable(run: Run, folder: Path | ModelSource) -> PreTrainedModel:
    """The model to train, or this process's share of it: its matrices in two halves, its layers fused, and computed again
    in the backward pass, where the configuration says so.
    """
    engine = run.config.engine
    is_split = engine.weights == "split"
    policy = load_policy(
        folder, run.compute.device, engine.packed_attention, run.compute.format, run.say, is_split, run.world
    )
    if is_fused(engine.fuse, run.compute.device):
        run.say(fuse_after_trial(policy))
    if engine.gradient_checkpointing:
        run.say(
            f"gradient checkpointing: {recompute_layers(policy)} layers are computed again in the backward pass"
        )
    return policy


def within_limit(examples: Sequence[Example], prompt: Prompt, max_prompt_tokens: int) -> Sequence[Example]:
    """Examples whose prompt is short enough; nothing is ever cut. InputError where none of them is."""
    return fit("prompts", examples, prompt, {PROMPT: max_prompt_tokens}).check().examples
