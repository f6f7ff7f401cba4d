"""Several copies of a vLLM teacher, on one node or many, that share the work through Ray Data.

One call is one Ray Data set: its blocks go to actors, one vLLM each, that start with the call and end with it.
So a call should bring all the work there is. Rows carry their number, as Ray gives them back in any order.
`ray.init` decides which cluster (RAY_ADDRESS); the model's folder has to be there on every node.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distill.recipe import Teacher
from distill.teachers.base import ScoreRequest, TopK
from distill.teachers.vllm_offline import Drawn, VllmModel

_BLOCK_ROWS = 256
"""Questions that an actor gets at once: enough for vLLM to keep its batches full."""


class VllmReplicas:
    """Implements `distill.teachers.vllm_offline.Batches`."""

    window = None

    def __init__(self, path: str, settings: Teacher, real_vocabulary: int, *, for_scores: bool) -> None:
        import ray

        self._arguments = {
            "path": path,
            "settings": settings.model_copy(update={"replicas": 1}),
            "real_vocabulary": real_vocabulary,
            "for_scores": for_scores,
        }
        self._replicas = settings.replicas
        self._gpus = settings.tensor_parallel
        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            ray.init(log_to_driver=False)
        # Ray Data's own progress would write over ours.
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)

    def generate(
        self, prompts: Sequence[Sequence[int]], options: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[int, Drawn]]:
        return self._run("generate", list(zip(map(list, prompts), map(dict, options), strict=True)), {})

    def score(self, requests: Sequence[ScoreRequest], top_k: int) -> Iterator[tuple[int, TopK]]:
        return self._run("score", [(one,) for one in requests], {"top_k": top_k})

    def close(self) -> None:
        import ray

        if self._started_ray and ray.is_initialized():
            self._started_ray = False
            ray.shutdown()

    def _run(self, method: str, rows: list[Any], options: dict[str, Any]) -> Iterator[tuple[int, Any]]:
        import ray

        rows_of_data = [{"number": number, "row": pickle.dumps(row)} for number, row in enumerate(rows)]
        blocks = min(len(rows), max(self._replicas, -(-len(rows) // _BLOCK_ROWS)))
        data = ray.data.from_items(rows_of_data, override_num_blocks=max(1, blocks)).map_batches(
            _Replica,
            fn_constructor_kwargs={**self._arguments, "method": method, "options": options},
            batch_size=_BLOCK_ROWS,
            compute=ray.data.ActorPoolStrategy(size=min(self._replicas, max(1, blocks))),
            num_gpus=self._gpus if ray.cluster_resources().get("GPU") else 0,
        )
        for row in data.iter_rows():
            yield int(row["number"]), pickle.loads(row["result"])


class _Replica:
    """What runs in an actor."""

    def __init__(self, *, method: str, options: dict[str, Any], **arguments: Any) -> None:
        self._work = getattr(VllmModel(**arguments), method)
        self._options = options

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = zip(*(pickle.loads(row) for row in batch["row"]), strict=True)
        found = dict(self._work(*map(list, columns), **self._options))
        return {
            "number": batch["number"],
            "result": [pickle.dumps(found[place]) for place in range(len(batch["row"]))],
        }
