"""One model, fast and exact: loading, packing, log-probabilities, sampling, greedy decoding, and the checks
of a model.
"""
