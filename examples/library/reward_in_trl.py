"""Our reward as a reward function of TRL: GRPOTrainer(reward_funcs=[reward_function], ...)."""

import sys

from reward import SemanticReward, as_trl_reward

encoder = sys.argv[1] if len(sys.argv) > 1 else "use"
reward = SemanticReward(language="zh", encoder=encoder)
reward_function = as_trl_reward(reward, source="question", reference="answer")  # columns of the data set

# what TRL then calls at each step
columns = {
    "prompts": ["Translate: open the file"] * 2,
    "question": ["open the file"] * 2,
    "answer": ["打开文件"] * 2,
}
rewards = reward_function(completions=["打开文件", "open"], completion_ids=[[1], [2]], **columns)
print(rewards)
