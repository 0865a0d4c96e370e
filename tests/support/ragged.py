"""Three prompts and three completions of each, of lengths that differ, past the tiny model's sliding window
of 8; some are cut.
"""

PROMPTS = [[2, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49], [2, 90], [2, 60, 61, 62]]
GROUPS = [
    [[5, 6, 7, 8, 9, 10, 11, 12, 13, 1], [70, 1], [33]],
    [[80, 81, 1], [82, 83, 84, 85, 86], [1]],
    [[9, 9, 9, 1], [9, 9, 9, 8], [7, 1]],
]
COMPLETIONS = [completion for group in GROUPS for completion in group]
IDS = [[40, 41, 42, 43, 44, 40, 41, 42, 43], [100], [7, 9, 11, 200, 13]]  # of general texts
