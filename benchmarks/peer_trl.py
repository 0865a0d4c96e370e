"""The peer of GRPO: TRL's `GRPOTrainer` with transformers' generation, fp32, all weights, a reference model,
and our reward.

Runs in .venv-peers, a turn at a time; see peers.py. One of its steps is one of ours: generation for all
prompts, the reference model, and one update over all completions in forward passes of `peer_rows` of them.
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.extras import profiling

from benchmarks.peer_transformers import TakeTurns, load_model, trainer_settings
from benchmarks.peer_turns import Connection, Request, semantic_reward
from data.prompt import Prompt


def arguments(request: Request, folder: str) -> GRPOConfig:
    config = request.settings()
    rollout = config.rollout
    rows = config.rollout.num_prompts * config.rollout.group_size
    generation: dict[str, Any] = {"use_cache": True} | (
        {"min_new_tokens": rollout.max_new_tokens} if request.exact else {}
    )
    return GRPOConfig(
        folder,
        **trainer_settings(config.train.optim, request.turns),
        per_device_train_batch_size=min(request.peer_rows, rows),
        gradient_accumulation_steps=max(1, rows // request.peer_rows),
        num_generations=rollout.group_size,
        max_completion_length=rollout.max_new_tokens,
        temperature=rollout.temperature,
        top_k=0,
        top_p=1.0,
        generation_kwargs=generation,
        beta=config.loss.kl_coef,
        epsilon=config.loss.clip_low,
        loss_type="grpo",
        num_iterations=1,
        shuffle_dataset=False,
    )


def record_phases() -> dict[str, float]:
    """Where TRL's own profiler sends its durations from now on: seconds by name, added up."""
    seconds: dict[str, float] = defaultdict(float)

    def note(context: Any, duration: float) -> None:
        seconds[context.name.split(".", 1)[1]] += duration

    profiling.ProfilingContext._log_metrics = note
    return seconds


def phases(seconds: dict[str, float]) -> dict[str, float]:
    """TRL's names -> ours. What preparing the inputs does besides sampling and rewarding is scoring under the
    reference model.
    """
    prepared, rollout, reward = (
        seconds[name] for name in ("_prepare_inputs", "transformers.generate", "_calculate_rewards")
    )
    return {"rollout": rollout, "reward": reward, "score": prepared - rollout - reward}


def main() -> None:
    connection = Connection()
    request = connection.request
    config = request.settings()
    tokenizer = AutoTokenizer.from_pretrained(request.model)
    prompt = Prompt.of(tokenizer)
    model = load_model(request.model)
    model.generation_config.eos_token_id = list(prompt.stops)
    judge = semantic_reward(config, request.examples)

    def reward(
        completion_ids: list[list[int]], source: list[str], references: list[Sequence[str]], **_: Any
    ) -> list[float]:
        texts = [prompt.decode_completion(ids) for ids in completion_ids]
        return judge(source, texts, references, config.rollout.group_size)[0].flatten().tolist()

    seconds = record_phases()

    def facts(log: dict[str, float]) -> dict[str, object]:
        by_phase = phases(seconds)
        seconds.clear()
        return {"phases": by_phase, "length": log["completions/mean_length"], "reward": log["reward"]}

    columns = [
        {"prompt": prompt.wording.text(e), "source": e.source, "references": list(e.references)}
        for e in request.examples
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model,
            reward,
            arguments(request, folder),
            train_dataset=Dataset.from_list(columns),
            processing_class=tokenizer,
            callbacks=[TakeTurns(connection, facts)],
        )
        connection.ready(tokenizer([row["prompt"] for row in columns])["input_ids"])
        trainer.train()


if __name__ == "__main__":
    main()
