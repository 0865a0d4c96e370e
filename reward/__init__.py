"""The reward: strings in, numbers out. It knows nothing of models, sampling or training; `reward.terms` lists
what there is. The names below are imported when they are first used (docs/library.md).
"""

import logging
from typing import TYPE_CHECKING, Any

for _name in ("torchao", "torch.utils._pytree"):  # as in grpo/__init__.py, for who imports the reward alone
    logging.getLogger(_name).setLevel(logging.ERROR)

if TYPE_CHECKING:
    from reward.combine import RewardConfig as RewardConfig
    from reward.combine import make_reward as make_reward
    from reward.embedding import EmbeddingStore as EmbeddingStore
    from reward.encoder import Encoder as Encoder
    from reward.encoder import load_encoder as load_encoder
    from reward.kernel import ragged_cosines as ragged_cosines
    from reward.kernel import soft_maximum as soft_maximum
    from reward.semantic import SemanticReward as SemanticReward
    from reward.terms import TERMS as TERMS
    from reward.trl import as_term as as_term
    from reward.trl import as_trl_reward as as_trl_reward
else:
    MODULES = {
        "reward.combine": "RewardConfig make_reward",
        "reward.embedding": "EmbeddingStore",
        "reward.encoder": "Encoder load_encoder",
        "reward.kernel": "ragged_cosines soft_maximum",
        "reward.semantic": "SemanticReward",
        "reward.terms": "TERMS",
        "reward.trl": "as_term as_trl_reward",
    }

    def __getattr__(name: str) -> Any:
        """One of the names above, or `__all__`; a command checks first that `data` is ours."""
        from data.lazy import find, names_of

        return names_of(MODULES) if name == "__all__" else find(__name__, MODULES, name)
