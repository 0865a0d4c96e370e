"""What a run leaves for a translation: its settings, and a policy with its prompt; and sources for it."""

import json
from collections.abc import Sequence
from pathlib import Path

from tiny import tiny_gemma
from tiny_run import SYLLABLES
from transformers import PreTrainedTokenizerFast

from data.prompt import Prompt
from data.saved_prompt import save
from data.template import Wording
from grpo.config import Config, EvalConfig, ModelConfig
from grpo.runtime.run_folder import plain

KINDS = [("bo", "zh", "mt"), ("dz", "zh", "mt")]
NEW = 6


def write_policy_run(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    policy = folder / "policy"
    tiny_gemma().save_pretrained(policy)
    save(Prompt.of(tokenizer, Wording(template="{source_language}: {source}=")), KINDS, policy)
    config = Config(
        device="cpu",
        eval=EvalConfig(max_new_tokens=NEW, batch_size=2),
        model=ModelConfig(max_prompt_tokens=60),
    )
    (folder / "config.json").write_text(json.dumps(plain(config)), encoding="utf-8")
    return folder


def sources(count: int) -> list[str]:
    return ["་".join(SYLLABLES[(n * k) % 16] for k in (1, 3, 5)[: 1 + n % 3]) for n in range(count)]


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
