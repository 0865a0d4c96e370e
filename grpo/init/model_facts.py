"""What the folder of a model says by itself: family, size, context, chat template, tokens of the corpus."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.config import DataConfig
from data.errors import InputError
from data.examples import Example
from data.model_folder import tensor_shapes
from data.model_settings import model_settings
from data.prompt import Prompt
from data.prompt_config import PromptConfig, default_template
from data.prompt_record import load_kinds, load_wording
from data.saved_prompt import model_ends
from data.script import script_of
from data.template import CHAT, Wording
from grpo.config import DEFAULT_POLICY, Config, ModelConfig
from grpo.engine.model import load_tokenizer
from grpo.init.corpus_facts import CorpusFacts
from grpo.publish.source import model_folder
from grpo.stages.context import what_it_may_be
from grpo.stages.plan import known_model, size_in_words

HUB = "hub:"
TRIMMED = ("Tibt", "Hani", "Latn")  # scripts of the trimmed vocabulary; of Latin only common pieces
TOKENS_A_UNIT = 4  # of a tokenizer that is not here yet
FRAME = 24  # tokens of the words around a source text
STEP = 8  # limits are multiples of it
ROOM = 1.25  # of the longest usual completion, for outputs
SAMPLE = 500  # pairs whose tokens are counted


@dataclass(frozen=True)
class ModelFacts:
    """What was found. `tokens`: most tokens of a usual prompt and completion; `is_counted` or only guessed."""

    policy: str
    words: str
    template: str
    reason: str
    vocabulary: str
    tokens: tuple[int, int]
    is_counted: bool


def look(policy: str, corpus: CorpusFacts) -> ModelFacts:
    """Look at a model: DEFAULT_POLICY, "hub:owner/name" (which is not opened), or a folder. Raises InputError for a
    folder that is no model.
    """
    sides = (corpus.source, corpus.reference)
    vocabulary = "trimmed"
    folder: Path | None = None
    if policy == DEFAULT_POLICY:
        scripts = {script_of(side.language) for side in sides}
        vocabulary = "trimmed" if scripts <= set(TRIMMED) and scripts != {"Latn"} else "full"
        folder = known_model(Config(model=ModelConfig(vocabulary=vocabulary)))  # type: ignore[arg-type]
        words, reason = "Gemma 3 270M (base), from its pip package", "a base model continues a text"
    elif policy.startswith(HUB):
        words, reason = "from the hub", 'not opened here; write "chat" for an instruct model'
    else:
        instead = what_it_may_be(policy)
        if instead and not (Path(policy) / "config.json").is_file():
            raise InputError(f"init: --model {policy}: no model there; {instead.removesuffix('; ')}")
        folder = model_folder(Path(policy))
        policy, words = str(folder), describe(folder)
    if folder is None:
        guess = [
            round_up(TOKENS_A_UNIT * one.longest + more) for one, more in zip(sides, (FRAME, 1), strict=True)
        ]
        return ModelFacts(
            policy, words, base_template(corpus), reason, vocabulary, (guess[0], guess[1]), False
        )
    template, reason = template_of(folder, corpus)
    return ModelFacts(
        policy, words, template, reason, vocabulary, count_tokens(folder, template, corpus), True
    )


def describe(folder: Path) -> str:
    """'llama, 135M parameters'."""
    shapes = [shape for file in folder.glob("*.safetensors") for shape in tensor_shapes(file).values()]
    size = size_in_words(sum(map(math.prod, shapes)))
    return f"{model_settings(folder / 'config.json').get('model_type', 'a model')}, {size} parameters"


def template_of(folder: Path, corpus: CorpusFacts) -> tuple[str, str]:
    """How to ask the model, and why."""
    base = base_template(corpus)
    if load_kinds(folder):
        return load_wording(folder).template, "as this policy was trained"
    if load_tokenizer(folder).chat_template:
        otherwise = f"write {json.dumps(base)} if it is a base model all the same"
        return CHAT, f"its tokenizer has a chat template; {otherwise}"
    return base, "its tokenizer has no chat template, so it continues a text"


def base_template(corpus: CorpusFacts) -> str:
    """How to ask a base model."""
    source, target = corpus.source.language, corpus.reference.language
    return default_template(
        DataConfig(corpus=corpus.location, source_language=source, target_language=target)
    )


def count_tokens(folder: Path, template: str, corpus: CorpusFacts) -> tuple[int, int]:
    """Tokens that 99 % of the prompts and completions do not exceed, rounded up."""
    tokenizer = load_tokenizer(folder)
    prompt = Prompt.of(
        tokenizer, Wording.of(PromptConfig(template=template), ()), model_ends(folder, tokenizer)
    )
    task = DataConfig(task=corpus.task).example_task  # type: ignore[arg-type]
    languages = corpus.source.language, corpus.reference.language
    examples = [Example("", a, b, "", "", *languages, task) for a, b in corpus.pairs[:SAMPLE]]
    prompts = [len(prompt.encode_prompt(one)) for one in examples]
    completions = [len(prompt.encode_completion(one.reference)) for one in examples]
    most = [int(np.percentile(counts, 99, method="inverted_cdf")) for counts in (prompts, completions)]
    return round_up(most[0]), round_up(most[1])


def round_up(tokens: float) -> int:
    """The next multiple of STEP."""
    return STEP * math.ceil(tokens / STEP)
