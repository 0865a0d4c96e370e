"""Three estimators of KL(policy || reference) from samples, beside the KL itself."""

import torch

from grpo import full_kl, kl_k1, kl_k2, kl_k3

policy = torch.tensor([0.5, 0.3, 0.2]).log()
reference = torch.tensor([0.4, 0.4, 0.2]).log()
tokens = torch.multinomial(
    policy.exp(), 100_000, replacement=True, generator=torch.Generator().manual_seed(0)
)
log_ratio = (policy - reference)[tokens]
estimates = {k.__name__: float(k(log_ratio).mean()) for k in (kl_k1, kl_k2, kl_k3)}
exact = float(full_kl(policy, reference))
print(exact, estimates)
