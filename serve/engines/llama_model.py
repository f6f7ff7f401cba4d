"""llama.cpp's C interface through llama-cpp-python: one model, one context, one batch. No policy.

Everything that touches the context must happen on one thread; tokenizing may happen on any. The
library is imported when a model is loaded, not before.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import Unavailable

logger = logging.getLogger(__name__)

_LOG_LEVEL_ERROR = 3  # GGML_LOG_LEVEL_ERROR
_TOKEN_ATTR_UNUSED = 1 << 1  # LLAMA_TOKEN_ATTR_UNUSED
SPIN_COUNT = "300"
"""Low enough that another process on the same cores costs its share and not more; high enough that
decoding alone is as fast as with OpenMP's default of hundreds of thousands."""
_kept_alive: list[object] = []
_last_error: deque[str] = deque(maxlen=1)


@dataclass(frozen=True, slots=True)
class BatchToken:
    """One token to compute: where it stands, in which sequence, and whether its logits are wanted."""

    id: int
    position: int
    sequence: int
    output: bool


class DecodeAborted(Exception):
    """The abort flag was raised while computing; nothing of the batch was kept."""


class NoRoom(Exception):
    """The KV cache has no room for the batch; nothing of it was kept."""


class LlamaModel:
    """Weights, with a LoRA adapter over them where one is given, and one context with `sequences` sequences
    over `context_tokens` unified KV cells."""

    def __init__(
        self,
        path: Path,
        *,
        context_tokens: int,
        sequences: int,
        batch_tokens: int,
        threads: int,
        adapter: Path | None = None,
    ) -> None:
        self._api: Any = quiet_api()
        api = self._api
        model_params = api.llama_model_default_params()
        # Not memory-mapped: llama.cpp repacks part of the weights, and a mapping would keep the
        # originals of those resident too (596 MB for the 1.5B Q4_K_M).
        model_params.load_mode = api.LLAMA_LOAD_MODE_NONE
        self._model = api.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise Unavailable(
                f"{path.name} cannot be loaded as a GGUF model; check it with `distilsql models verify` "
                "and that there is memory for it"
            )
        self._vocab = api.llama_model_get_vocab(self._model)
        params = api.llama_context_default_params()
        params.n_ctx = context_tokens
        params.n_batch = params.n_ubatch = self.batch_tokens = batch_tokens
        params.n_seq_max = params.n_outputs_max = self.sequences = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        # The abort callback runs between graph nodes on a compute thread. A Python callback would
        # wait for the interpreter lock there, so libc's strlen reads the flag instead: it returns 0
        # (go on) for "" and 1 (abort) for "\x01".
        self._abort = ctypes.create_string_buffer(2)
        params.abort_callback = ctypes.cast(ctypes.CDLL(None).strlen, api.ggml_abort_callback)
        params.abort_callback_data = ctypes.cast(self._abort, ctypes.c_void_p)
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            api.llama_model_free(self._model)
            raise Unavailable(
                f"no memory for a context of {context_tokens} tokens; lower `context_tokens` in the settings"
            )
        if adapter is not None:
            self._apply(adapter, path)
        self._memory = api.llama_get_memory(self._context)
        self._batch = api.llama_batch_init(batch_tokens, 0, 1)
        self.context_tokens = int(api.llama_n_ctx(self._context))
        self.trained_context = int(api.llama_model_n_ctx_train(self._model))
        self.vocabulary_size = int(api.llama_vocab_n_tokens(self._vocab))

    def _apply(self, adapter: Path, base: Path) -> None:
        """Compute with the adapter from now on; llama.cpp frees it with the model."""
        api = self._api
        _last_error.clear()
        loaded = api.llama_adapter_lora_init(self._model, str(adapter).encode())
        one = (api.llama_adapter_lora_p_ctypes * 1)(loaded)
        scale = (ctypes.c_float * 1)(1.0)
        if not loaded or api.llama_set_adapters_lora(self._context, one, 1, scale):
            reason = " ".join(_last_error)
            api.llama_free(self._context)
            api.llama_model_free(self._model)
            raise Unavailable(
                f"the adapter {adapter.name} cannot be loaded over {base.name} ({reason}): it has to be a LoRA "
                "adapter as `distilsql export gguf --adapter` makes it, of exactly this base"
            )

    def close(self) -> None:
        """Free everything; no other method may be called afterwards."""
        self._api.llama_batch_free(self._batch)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)

    # Vocabulary

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; with `special`, markers become their ids."""
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._api.llama_tokenize(self._vocab, data, len(data), ids, room, False, special)
        if count < 0:
            raise RuntimeError(f"tokenizing {len(data)} bytes needs {-count} tokens, room for {room}")
        return ids[:count]

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of every token by id; special tokens are empty."""
        buffer = ctypes.create_string_buffer(512)
        pieces = []
        for token in range(self.vocabulary_size):
            length = self._api.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            pieces.append(buffer.raw[: max(length, 0)])
        return pieces

    @cached_property
    def eog_ids(self) -> frozenset[int]:
        """Tokens that end a generation by the model's own account."""
        is_eog = self._api.llama_vocab_is_eog
        return frozenset(token for token in range(self.vocabulary_size) if is_eog(self._vocab, token))

    @cached_property
    def real_vocabulary(self) -> int:
        """Rows of the output matrix that stand for a token; the rest pads it to a round size."""
        for token in range(self.vocabulary_size - 1, -1, -1):
            attributes = int(self._api.llama_vocab_get_attr(self._vocab, token))
            if attributes and not attributes & _TOKEN_ATTR_UNUSED:
                return token + 1
        return self.vocabulary_size

    # Compute

    def decode(self, tokens: Sequence[BatchToken]) -> None:
        """Compute at most `batch_tokens` tokens in one go: all of them, or none.

        Raises NoRoom, DecodeAborted, or RuntimeError when llama.cpp reports a fault.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token.id
            batch.pos[index] = token.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = token.sequence
            batch.logits[index] = token.output
        code = self._api.llama_decode(self._context, batch)
        if code == 1:
            raise NoRoom
        if code == 2:
            raise DecodeAborted
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code}: {' '.join(_last_error)}")

    def logits(self, index: int) -> NDArray[np.float32]:
        """Logits of the batch's token `index`, [real_vocabulary]; valid until the next decode."""
        pointer = self._api.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, (self.vocabulary_size,))[: self.real_vocabulary]

    def abort(self) -> None:
        """Make a running decode stop soon. From any thread."""
        self._abort[0] = b"\x01"

    def clear_abort(self) -> None:
        """Let the next decode run."""
        self._abort[0] = b"\x00"

    @property
    def aborting(self) -> bool:
        """Whether the flag is up."""
        return self._abort.raw[0] != 0

    # Memory, by sequence

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` hold the first `length` positions of `source` too."""
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def truncate(self, sequence: int, length: int) -> None:
        """Forget the positions of `sequence` from `length` on."""
        self._api.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def save_state(self, sequence: int) -> bytes:
        """The keys and values of a sequence, as llama.cpp lays them out."""
        size = self._api.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = self._api.llama_state_seq_get_data(self._context, buffer, size, sequence)
        if written != size:
            raise RuntimeError(f"saving a sequence wrote {written} of {size} bytes")
        return bytes(buffer)

    def load_state(self, sequence: int, state: bytes) -> int:
        """Put back what `save_state` gave; returns how many positions the sequence now has (0: failed)."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if not self._api.llama_state_seq_set_data(self._context, buffer, len(state), sequence):
            return 0
        return int(self._api.llama_memory_seq_pos_max(self._memory, sequence)) + 1


def build_info() -> str:
    """The version of llama-cpp-python: snapshots of one version are not read by another."""
    return str(_library().__version__)


def quiet_api() -> Any:
    """llama.cpp's C functions, initialised, with their messages going to our logger."""
    api = _library().llama_cpp
    _route_logs(api)
    api.llama_backend_init()
    return api


def _library() -> Any:
    """llama-cpp-python, with its threads told not to wait for each other at full speed for long.

    OpenMP's threads spin at every barrier, hundreds of times a token. As soon as another process
    wants a core, one waits at full speed for another that does not run. The variable is read when
    the library is loaded; who has set it knows better.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import llama_cpp

    return llama_cpp


def _route_logs(api: Any) -> None:
    """Send llama.cpp's own messages to our logger, quietly: it reports every load in hundreds of lines,
    and every abort as an error. What went wrong for good is raised with its last error."""
    if _kept_alive:
        return

    @api.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, _user_data: object) -> None:
        message = text.decode(errors="replace").strip()
        if level == _LOG_LEVEL_ERROR:
            _last_error.append(message)
        logger.debug("llama.cpp: %s", message)

    _kept_alive.append(log)
    api.llama_log_set(log, ctypes.c_void_p(0))
