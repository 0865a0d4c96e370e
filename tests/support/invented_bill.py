"""What the bills of a run are counted from by hand: an invented model, the work of a step, a configuration."""

from grpo.config import Config, ModelConfig, RolloutConfig, SFTConfig, TrainConfig
from grpo.stages.memory_bill import ModelSizes, StepWork

SIZES = ModelSizes(
    parameters=1000, embedding=200, vocabulary=50, layers=2, width=10, feed_forward=30, queries=8, keys=4
)
WORK = StepWork(3, 2, 5, 7, 16, has_reference=True)
CONFIG = Config(
    model=ModelConfig(max_prompt_tokens=100),
    sft=SFTConfig(num_steps=10, batch_size=4),
    rollout=RolloutConfig(num_prompts=4, group_size=8, max_new_tokens=50),
    train=TrainConfig(num_steps=5),
)
