"""The parts of a recipe: what can be set for each stage. Every field has its meaning as the line under it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SeedFile(Part):
    """Where instructions come from."""

    file: str
    """A path (relative to the recipe), or `builtin:NAME` for one of the shipped seed files."""
    format: Literal["records", "alpaca", "sharegpt", "openai"] = "records"
    """`records` is our own JSON lines."""
    category: str = ""
    """Given to records that have none."""
    limit: Natural = 0
    """Take this many, evenly spread; 0 takes all."""


class Price(Part):
    """What a teacher's tokens cost, in US dollars per million; for the budget and the plan."""

    prompt: Annotated[float, Field(ge=0)] = 0.0
    """Per million prompt tokens."""
    completion: Annotated[float, Field(ge=0)] = 0.0
    """Per million completion tokens."""


class Budget(Part):
    """Where a teacher stops; 0 is no limit."""

    tokens: Natural = 0
    """Prompt and completion tokens together."""
    usd: Annotated[float, Field(ge=0)] = 0.0
    """US dollars at `price`."""


class Teacher(Part):
    """A model that answers, and (all but APIs) that scores tokens."""

    kind: Literal["llamacpp", "transformers", "vllm", "openai", "anthropic"]
    """How it is run: in process, or asked over HTTP (`openai` is any OpenAI-compatible API)."""
    model: str
    """llamacpp: a catalog name or GGUF file; transformers, vllm: a folder or hub name; APIs: their name."""
    base_url: str = ""
    """APIs: the address when it is not the vendor's own, such as http://127.0.0.1:8000/v1."""
    api_key_env: str = ""
    """APIs: name of the environment variable with the key; the key itself never stands in a recipe."""
    concurrency: Positive = 8
    """Questions under way at once (APIs, llamacpp); rows of a batch at most (transformers)."""
    max_retries: Natural = 6
    """Tries after the first, with growing, jittered pauses; Retry-After is obeyed."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Time limit of one try (APIs)."""
    price: Price = Price()
    """For the budget and the plan."""
    budget: Budget = Budget()
    """Stops the stage cleanly; what is answered is kept."""
    context_tokens: Positive = 4096
    """Longest question and answer (llamacpp, vllm)."""
    threads: Natural = 0
    """llamacpp: compute threads; 0 takes the physical cores."""
    tensor_parallel: Positive = 1
    """vllm: GPUs a replica is spread over."""
    replicas: Positive = 1
    """vllm: copies that share the work through Ray Data; 1 runs in process without Ray."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """transformers, vllm: weights' type."""
    device: str = "auto"
    """transformers: cpu, cuda, cuda:1, ...; auto takes the GPU where there is one."""
    batch_tokens: Positive = 8192
    """transformers: tokens (padding included) of one batch."""
    parameters_b: Annotated[float, Field(ge=0)] = 0.0
    """Billions of parameters, for the plan; 0 reads it out of the model's name (`32B`)."""


class Lora(Part):
    """Low-rank adapters on every linear layer of the blocks."""

    rank: Positive = 16
    """Inner dimension."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale is alpha / rank."""
    dropout: Share = 0.0
    """On the adapter's input."""


class Student(Part):
    """The model that learns."""

    model: str
    """A catalog name, a GGUF file, a Hugging Face folder or hub name."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of weights and compute; sums and losses are always float32."""
    lora: Lora | None = None
    """Train an adapter instead of all weights."""
    parameters_b: Annotated[float, Field(ge=0)] = 0.0
    """Billions of parameters, for the plan; 0 reads it out of the model's name (`0.5b`)."""


class Expansion(Part):
    """New instructions from seeds."""

    per_seed: Natural = 4
    """Wordings of each seed (audience, length, format, constraint, ... in turn)."""
    new_per_category: Natural = 0
    """Wholly new instructions for each task category."""
    examples_shown: Positive = 3
    """Seeds shown when new ones are asked for."""
    languages: tuple[Literal["en", "zh", "ja"], ...] = ("en",)
    """What comes in another language is rejected."""
    min_chars: Positive = 12
    """Shorter instructions are rejected."""
    max_chars: Positive = 4000
    """Longer ones too."""
    near_duplicate: Share = 0.7
    """Jaccard similarity (MinHash over 5-character shingles) from which two are the same."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """Of the teacher's draws."""
    max_tokens: Positive = 512
    """Longest draw."""


class Rewriting(Part):
    """Other words for the same wish; answers with, or without, their reasoning."""

    paraphrases: Natural = 1
    """Of each instruction, kept only where a check finds the meaning unchanged."""
    check_paraphrases: bool = True
    """Ask the teacher whether both mean the same, and compare their numbers and names."""
    chain_of_thought: Literal["none", "long", "short", "both"] = "both"
    """Reasoning asked for in the categories of `reasoning`: step by step, brief, or both."""
    reasoning: tuple[str, ...] = ("maths", "logic", "code", "sql")
    """Task categories whose answers come with reasoning."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Of the teacher's draws."""
    max_tokens: Positive = 512
    """Longest draw."""


class Answering(Part):
    """The teacher's answers to the instructions."""

    draws: Positive = 1
    """Answers to each instruction; more than one lets selection and verification choose."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Of the first draw; further ones use at least 0.7."""
    max_tokens: Positive = 1024
    """Longer answers are rejected, never cut."""


class SqlTrack(Part):
    """SQL training data, every statement executed on synthetic rows before it counts."""

    schemas: Natural = 0
    """Database schemas to make; 0 leaves the track out."""
    builtin_schemas: bool = True
    """Begin with the shipped schemas (they count towards `schemas`), then ask the teacher."""
    questions_per_schema: Positive = 8
    """Questions, each with its statement."""
    rows_per_table: Positive = 40
    """Synthetic rows."""
    dialect: str = "sqlite"
    """Statements are executed in SQLite or DuckDB; other dialects are transpiled from SQLite."""
    fim_per_statement: Natural = 3
    """Fill-in-the-middle cuts at realistic cursor positions."""
    broken_per_statement: Natural = 1
    """Broken statements with their repair."""
    joins: bool = True
    """JOINs with a wrong or missing condition, corrected."""
    conditions: bool = True
    """A statement, a condition in words, and the statement with it."""
    held_out_schemas: Positive = 1
    """Schemas (the last ones) whose records are kept for evaluation and never trained on."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Of the teacher's draws."""
    max_tokens: Positive = 768
    """Longest draw."""


class Selection(Part):
    """Which records are worth learning."""

    budget: Natural = 0
    """Records kept; 0 keeps all that pass."""
    min_density: Share = 0.05
    """Least information density (distinct content per token)."""
    max_noise: Share = 0.5
    """Most noise (repetition, boilerplate, broken markup)."""
    difficulty: bool = False
    """Score answers with teacher and student; the difference is the model-fit difficulty (takes a
    teacher that scores tokens, and the student's weights)."""
    judge: bool = False
    """Let the teacher grade quality and generality from 1 to 5 as well."""
    min_grade: Annotated[float, Field(ge=0, le=5)] = 3.0
    """Least grade of the judge."""
    category_balance: Share = 1.0
    """1: equal shares of the categories as far as there are records; 0: shares as they came."""


class Verification(Part):
    """Which records are right."""

    checkers: tuple[Literal["sql", "code", "maths", "format", "language"], ...] = (
        "sql",
        "code",
        "maths",
        "format",
        "language",
    )
    """Deterministic ones, each where it applies."""
    run_code: bool = False
    """Run Python in answers (in a process of its own with limits, but no jail: only on a machine for it)."""
    vote: bool = False
    """Ask the verifier model whether the answer is right."""
    votes: Positive = 1
    """Votes asked for; a majority is needed."""
    references: str = ""
    """A folder of text files; records with facts `references` are checked against those named."""


class Training(Part):
    """One training stage."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the data."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak; cosine schedule down to a tenth."""
    warmup: Share = 0.1
    """Share of the steps with a rising learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's."""
    max_tokens: Positive = 2048
    """Longest example; longer ones are left out and counted."""
    step_tokens: Positive = 65536
    """Tokens an optimiser step learns from, over all ranks (whole examples, as near as they come)."""
    micro_tokens: Positive = 8192
    """Tokens of one packed forward pass on one rank."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradient norm limit."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass instead of keeping them."""
    evaluate_every: Natural = 0
    """Optimiser steps between held-out evaluations; 0: at start and end only."""
    checkpoint_every: Natural = 100
    """Optimiser steps between checkpoints; 0: at the end only."""
    held_out: Share = 0.05
    """Share of the records kept for the held-out evaluation."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage; 0 is plain PyTorch on one process."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """DeepSpeed: what lies in the host's memory."""


class Capture(Part):
    """The teacher's log-probabilities of the tokens that are learned."""

    top_k: Positive = 10
    """Kept at each position."""
    draws: Natural = 0
    """Above 0: a sampled (unbiased) distribution of that many draws instead of the top K."""
    shard_tokens: Positive = 1_000_000
    """Positions in one shard file."""
    online: bool = False
    """Ask the teacher during training instead of a store."""


class Distillation(Training):
    """White box: learn the teacher's distribution."""

    loss: Literal[
        "forward_kl",
        "reverse_kl",
        "jensen_shannon",
        "total_variation",
        "skewed_forward_kl",
        "skewed_reverse_kl",
    ] = "forward_kl"
    """The divergence between teacher and student."""
    tail: Literal["bucket", "renormalise", "ignore"] = "bucket"
    """The mass outside the top K: one more bucket, renormalised away, or ignored."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of both distributions."""
    skew: Share = 0.1
    """Weight of the other distribution in the skewed losses' mixture."""
    beta: Share = 0.5
    """Generalised Jensen-Shannon: weight of the teacher in the mixture."""
    cross_entropy: Share = 0.1
    """Weight of the cross-entropy with the text; the divergence has the rest."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Hidden-state transfer through learned projections (an online transformers teacher only)."""
    attention_weight: Annotated[float, Field(ge=0)] = 0.0
    """Attention-map transfer (likewise)."""
    on: Literal["all", "sql"] = "all"
    """Which records."""

    @property
    def transfers(self) -> bool:
        """Whether the teacher's inner states are learned too."""
        return self.hidden_weight > 0 or self.attention_weight > 0


class Evaluation(Part):
    """What is measured at the end."""

    cases: Natural = 40
    """Held-out completion cases for Pass@1; 0 leaves it out."""
    max_tokens: Positive = 64
    """Longest completion."""


class Hardware(Part):
    """What the plan reckons with."""

    gpus: Natural = 0
    """0 is a CPU."""
    gpu: str = "A800-80G"
    """A name that `distilsql distill plan` knows: A800-80G, A100-80G, H100-80G, H200, L40S, RTX4090."""
    hostfile: str = ""
    """DeepSpeed's list of nodes (`worker-1 slots=8`), relative to the recipe; empty is this machine alone."""
    gpu_hour_usd: Annotated[float, Field(ge=0)] = 0.0
    """Price of one GPU for an hour."""
