"""Small tokenizers of every kind that a model folder may hold, made here from nothing."""

import shutil
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GemmaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Tokenizer,
)

TEXT = "天地人山水火木金土日月星 the dog and the cat sleep. <b>x</b>"


def byte_level(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE as of GPT-2, Llama 3 and Qwen; a line end is the letter of Maltese \u010a in its
    vocabulary.
    """
    pieces = [
        "<pad>",
        "<eos>",
        "<bos>",
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *(a + b for a, b in merges),
    ]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=list(merges))
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def characters(pieces: str, *added: str) -> PreTrainedTokenizerFast:
    """A character each, and an added token, not a special one, for each of `added`; anything else is
    <unk>.
    """
    names = ["<pad>", "<eos>", "<unk>", *pieces]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: number for number, piece in enumerate(names)}, merges=[], unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def sentencepiece_model(folder: Path, kind: str, byte_fallback: bool, normaliser: str) -> Path:
    """A SentencePiece model over `TEXT`, as `folder`/m.model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text("\n".join([TEXT] * 40), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "m"), model_type=kind, vocab_size=330 if byte_fallback else 70,
        byte_fallback=byte_fallback, character_coverage=1.0, normalization_rule_name=normaliser, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return folder / "m.model"


def llama(
    folder: Path, kind: str = "bpe", byte_fallback: bool = True, normaliser: str = "identity"
) -> PreTrainedTokenizerBase:
    """As of Llama 2 and Mistral: a word mark in front of every text."""
    shutil.copy(sentencepiece_model(folder, kind, byte_fallback, normaliser), folder / "tokenizer.model")
    return LlamaTokenizer.from_pretrained(folder)


def gemma(folder: Path) -> PreTrainedTokenizerBase:
    """As of Gemma: no word mark in front, bytes for what is unknown."""
    shutil.copy(sentencepiece_model(folder, "bpe", True, "identity"), folder / "tokenizer.model")
    return GemmaTokenizer.from_pretrained(folder)


def t5(folder: Path) -> PreTrainedTokenizerBase:
    """A unigram vocabulary whose normaliser makes a line end a space, and that lists its special tokens as
    pieces.
    """
    shutil.copy(sentencepiece_model(folder, "unigram", False, "nmt_nfkc"), folder / "spiece.model")
    return T5Tokenizer.from_pretrained(folder, extra_ids=0)
