"""The gradient of one update of GRPO from its parts: python examples/library/one_update.py FOLDER"""

import sys

import torch

import grpo

policy, tokenizer = grpo.load_policy(sys.argv[1], torch.device("cpu")), grpo.load_tokenizer(sys.argv[1])
prompts = [tokenizer(text)["input_ids"] for text in ("open the file", "close it")]
rollout = grpo.generate(policy, prompts, grpo.Sampling(4, 8, 1.0, (tokenizer.eos_token_id,)), seed=(0, 1))
rewards = torch.tensor([len(set(ids)) for ids in rollout.completions()]).view(2, 4)  # or a SemanticReward
advantages = grpo.group_advantages(rewards, std_floor=1e-4).flatten()
logps = grpo.completion_logps(policy, grpo.pack(prompts, rollout.completions(), group_size=4)).logps
mask = rollout.completion_mask[:, : logps.shape[1]]
weights, bounds = grpo.token_weights(mask, "sequence"), grpo.Bounds(0.2, 0.2)
loss, _ = grpo.grpo_loss(logps, None, logps.detach(), advantages, mask, weights, bounds=bounds, kl_coef=0.0)
loss.backward()  # then optimizer.step()
