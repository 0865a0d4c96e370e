"""Runs a transformers encoder from a plain transformers folder and pools its token vectors.

An optional `encoder.json` beside the weights has the settings; the defaults are {"pooling": "mean", "prompt":
"", "max_length": 128, "include_prompt": true}, and `pooling` is a name of pooling.py or a list of them.
Frozen, fp32, weights from safetensors only, no code from the folder, no network. Not here: heads on top of
the pooling (modules.py), training.

A reward must not depend on the batch, so the shape of a forward pass follows from a text's own length: its
width is the next multiple of WIDTH_STEP above it, its rows make up a fixed number of tokens, and the last
batch is padded. A text then meets the same arithmetic in every call: bit-equal vectors on the CPU (measured,
and a test).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

from data.errors import InputError
from data.model_folder import check_model_folder, input_errors, quiet
from data.model_settings import model_settings
from reward.encoders.folder import folder_hash, read_settings
from reward.encoders.pooling import POOLINGS, blank_row, pool

SETTINGS_FILE = "encoder.json"
DEFAULT_LENGTH = 128
BATCH_TOKENS = 128  # of a forward pass; a small call costs a whole one
ACCELERATOR_TOKENS = 8192
WIDTH_STEP = 8
TOKENIZE_AT_ONCE = 1024
# parts of a model that no hidden state passes through: may be missing from the weights
UNUSED_PARTS = {"pooler", "decoder"}


@dataclass(frozen=True)
class PoolSettings:
    """How token vectors become the vector of a text. `max_length` counts special tokens too, at most the
    model's limit; None = that limit. `language`: the token, such as bod_Tibt, that a SONAR or NLLB tokenizer begins a text with.
    """

    pooling: tuple[str, ...] = ("mean",)
    prompt: str = ""
    max_length: int | None = DEFAULT_LENGTH
    include_prompt: bool = True
    lower_case: bool = False
    # kept out of the fingerprint's words: encoder.json is hashed
    language: str = field(default="", repr=False)


class PooledEncoder:
    """Text -> pooled hidden state. `vectors` gives the model's own rows; `encode` scales them to unit length."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: PoolSettings,
        fingerprint: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.fingerprint = fingerprint
        self.dim = model.config.get_text_config().hidden_size * len(settings.pooling)
        self.positions = last_positions(model)
        self.max_length = min(settings.max_length or tokenizer.model_max_length, self.positions)
        self._skip = 0 if settings.include_prompt else self._prompt_length()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU; row i depends on texts[i] alone."""
        return F.normalize(self.vectors(texts), dim=1)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Pooled vectors (n, dim), fp32 also under autocast, on the CPU. A text without any token gets `blank_row`."""
        device = self.model.device
        rows = blank_row(self.dim).repeat(len(texts), 1)
        ids = self._ids(texts)
        with torch.autocast(device.type, enabled=False):
            for members, shape in length_batches([*map(len, ids)], self.positions, batch_tokens(device)):
                pad = self.tokenizer.pad_token_id or 0
                padded_ids, lengths = pad_rows([ids[i] for i in members], shape, pad)
                hidden = self._hidden_states(padded_ids, lengths)
                vectors = pool(hidden, lengths.to(device), self.settings.pooling, self._skip)
                rows[members] = vectors[: len(members)].cpu()
        return rows

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return token_ids(self.tokenizer, [self.settings.prompt + text for text in texts], self.max_length)

    def _hidden_states(self, padded_ids: Tensor, lengths: Tensor) -> Tensor:
        """Last hidden states (n, T, H); the mask comes from the lengths."""
        mask = torch.arange(padded_ids.shape[1]) < lengths[:, None]
        device = self.model.device
        hidden: Tensor = self.model(
            input_ids=padded_ids.to(device), attention_mask=mask.long().to(device)
        ).last_hidden_state
        return hidden

    def _prompt_length(self) -> int:
        """Tokens before the text: those of the prompt alone, without a special token at its end."""
        ids = self._ids([""])[0]
        return len(ids) - bool(ids and ids[-1] in self.tokenizer.all_special_ids)


def load_pooled(folder: Path, device: torch.device) -> PooledEncoder:
    """Load a transformers folder, pooled as its encoder.json says. Raises InputError for what cannot be read."""
    return make_pooled_encoder(folder, read_pool_settings(folder / SETTINGS_FILE), device)


def make_pooled_encoder(folder: Path, settings: PoolSettings, device: torch.device) -> PooledEncoder:
    """Load a transformers folder with the given pooling."""
    check_model_folder(folder, AutoModel)
    tokenizer = read_tokenizer(folder, settings.lower_case)
    if settings.language:
        set_language(folder, tokenizer, settings.language)
    model = read_model(folder, UNUSED_PARTS)
    if model.config.is_encoder_decoder and hasattr(model, "decoder"):
        model = model.get_encoder()
    model = model.to(device)  # type: ignore[arg-type]
    fingerprint = folder_hash(
        folder, settings, f"{batch_tokens(device)} tokens, steps of {WIDTH_STEP}", device.type, "fp32"
    )
    return PooledEncoder(model, tokenizer, settings, fingerprint)


def read_pool_settings(path: Path) -> PoolSettings:
    """Read encoder.json, or return the defaults where there is none. Raises InputError for an unknown key or
    a bad value.
    """
    if not path.exists():
        return PoolSettings()
    settings = read_settings(
        path,
        {"pooling": str | list, "prompt": str, "max_length": int, "include_prompt": bool, "language": str},
    )
    if "pooling" in settings:
        settings["pooling"] = pooling_names(path, settings["pooling"])
    if settings.get("max_length", 1) < 1:
        raise InputError(f"{path}: max_length = {settings['max_length']}: must be at least 1")
    return PoolSettings(**settings)


def pooling_names(path: Path, pooling: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple. Raises InputError naming the file `path` for an unknown name or none."""
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    for name in names or ("",):
        if not isinstance(name, str) or name not in POOLINGS:
            raise InputError(f"{path}: unknown pooling {name!r}; known poolings: {', '.join(POOLINGS)}")
    return names


def batch_tokens(device: torch.device) -> int:
    """Tokens of a forward pass, padding included."""
    return BATCH_TOKENS if device.type == "cpu" else ACCELERATOR_TOKENS


def pad_rows(ids: Sequence[Sequence[int]], shape: tuple[int, int], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids padded on the right to `shape` (n, T), and lengths (n,): 1 for a row without a text."""
    padded_ids = torch.full(shape, pad)
    for row, text_ids in enumerate(ids):
        padded_ids[row, : len(text_ids)] = torch.tensor(text_ids)
    return padded_ids, torch.tensor([*map(len, ids)] + [1] * (shape[0] - len(ids)))


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text with its special tokens, cut to `max_length`."""
    rows: list[list[int]] = []
    for start in range(0, len(texts), TOKENIZE_AT_ONCE):
        part = list(texts[start : start + TOKENIZE_AT_ONCE])
        rows += tokenizer(part, truncation=True, max_length=max_length, padding=False)["input_ids"]
    return rows


def length_batches(
    lengths: Sequence[int], positions: int, tokens: int
) -> Iterator[tuple[list[int], tuple[int, int]]]:
    """Group texts of one width: (their indices, (rows, width)); texts without tokens are left out.

    The width exceeds the length, so every batch has padding: without any, transformers drops the mask and
    takes another path, whose bits agreed on the CPU but need not. Where the model's last position forbids a
    wider batch, one row stays empty instead.
    """
    by_width: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        if length:
            by_width.setdefault(min((length // WIDTH_STEP + 1) * WIDTH_STEP, positions), []).append(i)
    for width, members in by_width.items():
        rows = max(2, tokens // width)
        num_texts = rows - (width == positions)
        yield from ((members[i : i + num_texts], (rows, width)) for i in range(0, len(members), num_texts))


def read_tokenizer(folder: Path, lower_case: bool = False) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a transformers folder. Raises InputError for none."""
    with input_errors(folder, "no tokenizer that transformers can read"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer("a")
        if lower_case:
            backend = tokenizer.backend_tokenizer
            backend.normalizer = normalizers.Sequence(
                [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
            )
    return tokenizer


def read_model(folder: Path, optional: Collection[str]) -> PreTrainedModel:
    """Read the model in fp32 and eval mode without gradients. Raises InputError for tensors of another shape and for
    missing ones, those of the parts named in `optional` aside.

    transformers fills missing tensors with random numbers and goes on: a reward from them would be noise.
    """
    with (
        quiet(),
        input_errors(folder, "not a transformers encoder folder with safetensors weights"),
        torch.random.fork_rng(devices=[]),
    ):
        model, info = model_class(folder).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below
        )
    if info["mismatched_keys"]:
        name, *shapes = sorted(info["mismatched_keys"])[0]
        own, asked = map(tuple, shapes)
        raise InputError(
            f"{folder}: {name} has shape {own}, and config.json asks for {asked}; take both files from one model"
        )
    missing = sorted(name for name in info["missing_keys"] if name.split(".")[0] not in optional)
    if missing:
        raise InputError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more tensors of a {type(model).__name__}"
        )
    return model.requires_grad_(False).eval()


def model_class(folder: Path) -> Any:
    """The class whose weights a folder has: SONAR's is the encoder of an M2M-100 alone, of other models AutoModel knows
    it.
    """
    path = folder / "config.json"
    return M2M100Encoder if model_settings(path).get("architectures") == ["M2M100Encoder"] else AutoModel


def set_language(folder: Path, tokenizer: PreTrainedTokenizerBase, language: str) -> None:
    """Begin every text with the token of `language`. Raises InputError where the tokenizer has no such token."""
    if not hasattr(tokenizer, "src_lang"):
        raise InputError(
            f"{folder / SETTINGS_FILE}: language = {language!r}: this tokenizer takes no language"
        )
    if language not in tokenizer.get_vocab():
        raise InputError(
            f"{folder / SETTINGS_FILE}: language = {language!r}: the tokenizer has no such token"
        )
    tokenizer.src_lang = language


def last_positions(model: nn.Module) -> int:
    """The longest input in tokens. RoBERTa models count positions from padding_idx + 1, so they have that
    many fewer.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None) or 1 << 30
