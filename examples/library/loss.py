"""The clipped loss of GRPO and its gradient: two completions of three and two tokens."""

import torch

from grpo import Bounds, grpo_loss, token_weights

mask = torch.tensor([[True, True, True], [True, True, False]])
old_logps = torch.full((2, 3), -1.0)
policy_logps = (old_logps + torch.tensor([[0.0, 0.1, 0.5], [0.0, -0.5, 0.0]])).requires_grad_()
advantages = torch.tensor([1.0, -1.0])
weights = token_weights(mask, "token")  # every token counts the same
loss, statistics = grpo_loss(
    policy_logps, old_logps, old_logps, advantages, mask, weights, bounds=Bounds(0.2, 0.2), kl_coef=0.05
)
loss.backward()
print(loss, policy_logps.grad, statistics["clip_share"], sep="\n")
