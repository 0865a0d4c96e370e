"""GRPO with semantic rewards, in pure PyTorch (arXiv 2605.14366)."""

__version__ = "0.1.0"
