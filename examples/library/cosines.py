"""The cosine kernel: each completion has its own number of reference texts, given as rows of one matrix."""

import torch

from reward import ragged_cosines, soft_maximum

draw = torch.Generator().manual_seed(0)
completions = torch.nn.functional.normalize(torch.randn(3, 512, generator=draw), dim=1)
matrix = torch.nn.functional.normalize(torch.randn(1000, 512, generator=draw), dim=1)
rows = torch.tensor([7, 400, 3, 3, 999, 0])  # of the matrix, for all completions
offsets = torch.tensor([0, 2, 3, 6])  # the first completion has rows 7 and 400, the second has row 3
cosines = ragged_cosines(completions, matrix, rows, offsets)
best = soft_maximum(cosines, offsets, softness=0.0)  # the nearest reference text of each
print(cosines, best, sep="\n")
