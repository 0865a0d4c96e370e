"""The whole reward: python examples/library/semantic_reward.py [ENCODER]"""

import sys

from reward import SemanticReward

encoder = sys.argv[1] if len(sys.argv) > 1 else "use"
reward = SemanticReward(language="zh", encoder=encoder)
sources = ["open the file"] * 3
completions = ["打开文件", "关闭窗口", "open the file"]
references = [["打开文件", "打开档案"]] * 3  # one or more texts for each completion
rewards = reward(sources, completions, references)
_, terms = reward.scores(sources, completions, references)
print(rewards, terms)  # the third is in the wrong script: a gate makes it 0
