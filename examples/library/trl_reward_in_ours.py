"""A reward function of TRL as a gate of our reward."""

import sys
from typing import Any

from reward import SemanticReward, as_term


def brackets(completions: list[str], solution: list[str], **columns: Any) -> list[float]:
    """As it is in a script for TRL."""
    rows = zip(completions, solution, strict=True)
    return [float(text.count("(") == answer.count("(")) for text, answer in rows]


encoder = sys.argv[1] if len(sys.argv) > 1 else "use"
terms = {"brackets": as_term(brackets, column="solution")}
reward = SemanticReward("zh", encoder, terms=terms, gates=["script", "brackets"])
rewards = reward(["a file (new)"] * 2, ["文件(新)", "文件新"], ["文件(新)"] * 2)
print(rewards)
