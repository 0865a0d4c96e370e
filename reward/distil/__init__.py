"""`python -m reward.distil`: a sentence encoder for Tibetan script, taught by one for Chinese and English."""
