"""Rewards of groups become advantages: two prompts, four completions each."""

import torch

from grpo import group_advantages, group_spread

rewards = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
grpo = group_advantages(rewards, std_floor=1e-4)
dr_grpo = group_advantages(rewards, std_floor=1e-4, scale="none")
rloo = group_advantages(rewards, std_floor=1e-4, baseline="leave_one_out", scale="none")
print(grpo, dr_grpo, rloo, group_spread(rewards), sep="\n")  # the second group teaches nothing
