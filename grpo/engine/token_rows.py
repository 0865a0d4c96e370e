"""The rows of a model that stand for a token. Many models have more, up to a round number.

No other row gets a probability: it is neither sampled nor counted in a softmax.
"""

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from grpo.engine.loading import files_of
from grpo.engine.source import ModelSource

COUNT = "token_rows"  # attribute of a model that has more rows than its tokenizer has tokens
FILE = "tokenizer.json"
FILES = ("*token*", "vocab*", "merges*", "spiece*", "tekken*", "*.model")  # patterns; one is enough


def note_tokens(model: PreTrainedModel, source: str | Path | ModelSource) -> None:
    """Let a model that was loaded know how many tokens the tokenizer beside it has, where it has more rows."""
    folder = files_of(source)
    if folder is None:
        return
    count = count_tokens(folder)
    if 0 < count < model.config.get_text_config().vocab_size:
        setattr(model, COUNT, count)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has files of a tokenizer; transformers would make up one without them."""
    return any(file for like in FILES for file in folder.glob(like))


def count_tokens(folder: Path) -> int:
    """How many rows the tokenizer of a model's folder needs; 0 where it has none or none can be read."""
    if not has_tokenizer(folder):
        return 0
    return tokens_in(folder, max(file.stat().st_mtime_ns for file in folder.iterdir()))


@lru_cache(maxsize=8)
def tokens_in(folder: Path, _changed: int) -> int:
    """The highest id of a tokenizer plus one; 0 where none can be read, which `load_tokenizer` says better."""
    path = folder / FILE
    try:
        if path.is_file():
            vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
        else:
            vocabulary = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
    except Exception:  # each kind of tokenizer has its own way to fail
        return 0
    return 1 + max(vocabulary.values(), default=-1)


def token_rows(model: PreTrainedModel, values: Tensor) -> Tensor:
    """Of a head (V, H), the rows of tokens; all where every row has one."""
    count = vars(model).get(COUNT)
    return values if count is None else values[:count]


def token_logits(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """Of logits (..., V), those of tokens."""
    return logits[..., : vars(model).get(COUNT)]
