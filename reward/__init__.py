"""The reward: strings in, numbers out. It knows nothing of models, sampling or training; `reward.terms` lists
what there is.
"""
