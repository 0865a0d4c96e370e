"""TRL's GRPOTrainer on a random model, for `make bench-gpu`: a process of its own, whose last line is JSON.

bf16 autocast over fp32 weights, transformers' generation, a reference model, a reward that takes no time: one
step of it is one of ours.
"""

import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from benchmarks.gpu_sizes import ModelSize
from benchmarks.step import LEARNING_RATE, StepSize

PEER_ROWS = 64  # completions of one forward pass of the peer
STEPS = 3


class PeerFailure(RuntimeError):
    """The peer's process ended without a number; the message is its last line."""


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("trl", "datasets"))


def peer_step_seconds(model: ModelSize, size: StepSize, limit: float) -> dict[str, float]:
    """Seconds and peak memory of a step of the peer, from a process that may take `limit` seconds."""
    request = {"family": model.family, "settings": model.settings, "size": asdict(size)}
    command = [sys.executable, "-m", "benchmarks.gpu_peer", json.dumps(request)]
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise PeerFailure(f"TRL took more than the {limit:.0f} s that were left") from error
    if process.returncode:
        raise PeerFailure((process.stderr.strip().splitlines() or ["no message"])[-1])
    answer: dict[str, float] = json.loads(process.stdout.strip().splitlines()[-1])
    return answer


def word_tokenizer(vocabulary: int) -> Any:
    """Words t0, t1, ... stand for their ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"t{number}": number for number in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="t0", eos_token="t1", bos_token="t2", unk_token="t3"
    )


def settings_of(folder: str, size: StepSize, on_cpu: bool) -> Any:
    from trl import GRPOConfig

    rows = size.prompts * size.group
    per_pass = min(rows, PEER_ROWS)
    return GRPOConfig(
        folder,
        per_device_train_batch_size=per_pass,
        gradient_accumulation_steps=rows // per_pass,
        num_generations=size.group,
        max_completion_length=size.new,
        generation_kwargs={"min_new_tokens": size.new},
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=0.02,
        loss_type="grpo",
        shuffle_dataset=False,
        bf16=not on_cpu,
        use_cpu=on_cpu,
        max_steps=STEPS + 2,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def measure(request: dict[str, Any], folder: str) -> dict[str, float]:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    from benchmarks.subject import random_model
    from grpo.runtime import device

    size = StepSize(**request["size"])
    compute = device.choose(number_format="fp32")
    model = random_model(request["settings"], compute, request["family"])
    model.set_attn_implementation("sdpa")
    model.save_pretrained(f"{folder}/model")
    vocabulary = model.config.vocab_size
    del model
    device.release_memory(compute)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            device.synchronise(compute)
            times.append(time.perf_counter())

    draw = random.Random(0)
    words = [
        " ".join(f"t{draw.randrange(4, vocabulary)}" for _ in range(size.prompt)) for _ in range(size.prompts)
    ]
    trainer = GRPOTrainer(
        f"{folder}/model",
        lambda completions, **_: [len(set(text)) / 10 for text in completions],
        settings_of(folder, size, compute.device.type == "cpu"),
        train_dataset=Dataset.from_list([{"prompt": text} for text in words] * (STEPS + 3)),
        processing_class=word_tokenizer(vocabulary),
        callbacks=[Clock()],
    )
    trainer.train()
    seconds = [after - before for before, after in pairwise(times)]
    return {"step": statistics.median(seconds[1:]), "peak_bytes": device.peak_memory_bytes(compute)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(json.loads(sys.argv[1]), folder)))


if __name__ == "__main__":
    main()
