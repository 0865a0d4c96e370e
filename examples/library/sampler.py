"""Four completions of each prompt from a model: python examples/library/sampler.py FOLDER"""

import sys

import torch

from grpo import Sampling, generate, load_policy, load_tokenizer

folder = sys.argv[1]  # a transformers folder
model = load_policy(folder, torch.device("cpu"))
tokenizer = load_tokenizer(folder)
prompts = [tokenizer(text)["input_ids"] for text in ("open the file", "close it")]
sampling = Sampling(4, max_new_tokens=8, temperature=1.0, stop_ids=(tokenizer.eos_token_id,))
rollout = generate(model, prompts, sampling, seed=(0, 1))  # the same seed, the same completions
texts = tokenizer.batch_decode(rollout.completions(), skip_special_tokens=True)
print(*texts, sep="\n")
