"""A model under PyTorch as a teacher that scores fixed tokens, with a chunked head.

Requests of like length share a batch, padded on the right (a causal model does not see what stands behind).
The final hidden states are computed once; the output matrix is applied to the wanted rows alone, a fixed
number at a time, so that a [tokens, vocabulary] matrix never exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from distill.recipe import Teacher
from distill.teachers import distribution
from distill.teachers.base import ScoreRequest, TopK
from distill.teachers.transformers_local import load
from serve.errors import TooLarge

_LOGIT_BYTES = 64 << 20
"""Float32 logits at once on a CPU: 110 rows of a vocabulary of 152k. Larger chunks are no faster there."""
_LOGIT_BYTES_GPU = 512 << 20
_SLAB_ROWS = 16_384


class TransformersScorer:
    """Implements `distill.teachers.base.Scorer`."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model. Raises as `transformers_local.load`."""
        self._settings = settings
        self._loaded = load(settings)
        self._real = self._loaded.tokenizer.real_vocabulary
        budget = _LOGIT_BYTES_GPU if self._loaded.device.type == "cuda" else _LOGIT_BYTES
        self._chunk = max(1, budget // (4 * self._real))

    @property
    def name(self) -> str:
        return f"transformers: {self._settings.model}"

    @property
    def tokenizer_hash(self) -> str:
        return self._loaded.tokenizer.hash

    @property
    def real_vocabulary(self) -> int:
        return self._real

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        """As `Scorer.score`. Raises TooLarge and ValueError before anything is computed."""
        longest = self._loaded.model.config.max_position_embeddings
        for number, request in enumerate(requests):
            distribution.check(request, number, self._real)
            if len(request.ids) > longest:
                raise TooLarge(
                    f"request {number} has {len(request.ids)} tokens, the teacher's context is {longest}: "
                    "leave longer examples out (max_tokens)"
                )
        for batch in self._batches(requests):
            yield from zip(
                batch, self._score([requests[one] for one in batch], top_k, draws, seed), strict=True
            )

    def close(self) -> None:
        self._loaded.model.to("meta")

    def _batches(self, requests: Sequence[ScoreRequest]) -> Iterator[list[int]]:
        """Numbers of requests of like length, padded no longer than `batch_tokens`; the longest first, so
        that a batch that does not fit the memory fails at the start."""
        batch: list[int] = []
        for number in sorted(range(len(requests)), key=lambda one: -len(requests[one].ids)):
            width = len(requests[batch[0]].ids) if batch else 0
            if batch and (len(batch) + 1) * width > self._settings.batch_tokens:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    @torch.inference_mode()
    def _score(self, batch: list[ScoreRequest], top_k: int, draws: int, seed: int) -> list[TopK]:
        found = [distribution.empty(len(one.positions), top_k) for one in batch]
        hidden = self._hidden(batch)
        uniforms = [distribution.draw_uniforms(one, draws, seed) for one in batch] if draws else None
        targets = np.concatenate([one.ids[one.positions] for one in batch])
        places = [(at, row) for at, one in enumerate(batch) for row in range(len(one.positions))]
        for first in range(0, len(places), self._chunk):
            chunk = places[first : first + self._chunk]
            logprobs = self._logprobs(hidden[first : first + len(chunk)])
            wanted = torch.as_tensor(targets[first : first + len(chunk)], device=logprobs.device).long()
            own = logprobs.gather(1, wanted[:, None])[:, 0].cpu().numpy()
            values, ids = (one.cpu().numpy() for one in logprobs.topk(min(top_k, self._real), dim=1))
            for place, (at, row) in enumerate(chunk):
                found[at].target_logprobs[row] = own[place]
                if uniforms is None:
                    found[at].ids[row, : ids.shape[1]] = ids[place]
                    found[at].logprobs[row, : ids.shape[1]] = values[place]
                else:
                    drawn, shares = distribution.drawn(
                        logprobs[place].cpu().numpy(), uniforms[at][row], top_k
                    )
                    found[at].ids[row, : len(drawn)] = drawn
                    found[at].logprobs[row, : len(drawn)] = shares
        return found

    def _hidden(self, batch: list[ScoreRequest]) -> torch.Tensor:
        """Final hidden states of the rows that are wanted, [rows, hidden], request by request."""
        device = self._loaded.device
        width = max(len(one.ids) for one in batch)
        ids = np.zeros((len(batch), width), np.int64)
        for at, one in enumerate(batch):
            ids[at, : len(one.ids)] = one.ids
        out = self._loaded.model.base_model(input_ids=torch.from_numpy(ids).to(device), use_cache=False)
        rows = np.concatenate([np.full(len(one.positions), at) for at, one in enumerate(batch)])
        # The logits at t - 1 say what stands at t.
        columns = np.concatenate([one.positions.astype(np.int64) - 1 for one in batch])
        hidden: torch.Tensor = out.last_hidden_state
        return hidden[torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)]

    def _logprobs(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, real vocabulary], float32."""
        weight = self._loaded.model.get_output_embeddings().weight[: self._real]
        if weight.dtype == torch.float32:
            return torch.log_softmax(hidden @ weight.T, dim=-1)
        # A product in bfloat16 would round logits to 3 digits; the matrix is widened a slab at a time.
        hidden = hidden.float()
        slabs = [hidden @ slab.float().T for slab in weight.split(_SLAB_ROWS)]
        return torch.log_softmax(torch.cat(slabs, dim=1), dim=-1)
