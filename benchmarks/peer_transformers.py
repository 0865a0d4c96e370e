"""The peers of the warm start and of decoding: transformers' `Trainer` and `model.generate`, fp32, on the
same texts.

Runs in .venv-peers, a turn at a time; see peers.py.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from benchmarks.peer_turns import Connection
from data.prompt import Prompt
from grpo.config import OptimConfig
from grpo.engine.greedy import batches_by_length

IGNORED = -100  # a label without a loss


def load_model(folder: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def trainer_settings(optim: OptimConfig, turns: int) -> dict[str, Any]:
    """What any Trainer here is told: our optimiser, full precision, no checkpoints, one more step than turns
    (see `TakeTurns`).
    """
    return {
        "max_steps": turns + 1,
        "learning_rate": optim.lr,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "adam_beta1": optim.beta1,
        "adam_beta2": optim.beta2,
        "weight_decay": optim.weight_decay,
        "max_grad_norm": optim.max_grad_norm,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


class TakeTurns(TrainerCallback):
    """Holds a Trainer before each step: a turn lasts until the next step is about to begin, its line in the
    log included.
    """

    def __init__(self, connection: Connection, facts: Callable[[dict[str, float]], dict[str, object]]):
        self.connection = connection
        self.facts = facts

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if state.global_step:
            self.connection.report(**self.facts(state.log_history[-1]))
        self.connection.wait_for_turn()


def pad(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """Pairs of prompt and completion -> input_ids, attention_mask and labels (B, S), padded on the right."""
    ids = [torch.tensor([*prompt, *completion]) for prompt, completion in rows]
    labels = [torch.tensor([*[IGNORED] * len(prompt), *completion]) for prompt, completion in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def warm_start(connection: Connection, folder: str) -> None:
    request = connection.request
    config = request.settings().sft
    prompt = Prompt.of(AutoTokenizer.from_pretrained(request.model))
    model = load_model(request.model)
    pairs = [(prompt.encode_prompt(e), prompt.encode_completion(e.reference)) for e in request.examples]
    settings = trainer_settings(config.optim, request.turns) | {
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
    }
    arguments = TrainingArguments(folder, per_device_train_batch_size=config.batch_size, **settings)
    callback = TakeTurns(connection, lambda log: {"loss": log["loss"]})
    trainer = Trainer(model, arguments, data_collator=pad, train_dataset=pairs, callbacks=[callback])
    connection.ready(pairs)
    trainer.train()


def decode(connection: Connection, folder: str) -> None:
    request = connection.request
    config = request.settings().eval
    tokenizer = AutoTokenizer.from_pretrained(request.model)
    prompt = Prompt.of(tokenizer)
    model = load_model(request.model).eval()
    prompts = [prompt.wording.text(example) for example in request.examples]
    settings = {
        "do_sample": False,
        "use_cache": True,
        "max_new_tokens": config.max_new_tokens,
        "eos_token_id": list(prompt.stops),
    }
    connection.ready(tokenizer(prompts)["input_ids"])
    while True:
        connection.wait_for_turn()
        outputs = [""] * len(prompts)
        for batch in batches_by_length(tokenizer(prompts)["input_ids"], config.batch_size):
            inputs = tokenizer(
                [prompts[i] for i in batch], padding=True, padding_side="left", return_tensors="pt"
            )
            with torch.inference_mode():
                rows = model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :].tolist()
            for i, ids in zip(batch, rows, strict=True):
                outputs[i] = prompt.decode_completion(ids)
        connection.report(outputs=outputs)


def main() -> None:
    connection = Connection()
    with tempfile.TemporaryDirectory() as folder:
        {"warm_start": warm_start, "decoding": decode}[connection.request.task](connection, folder)


if __name__ == "__main__":
    main()
