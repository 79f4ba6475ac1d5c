"""Settings of the trainer."""

from typing import Annotated, ClassVar, Literal

from pydantic import Strict

from recbole_genrec.config.arguments.base import Arguments, Needs, Neutral, group
from recbole_genrec.config.arguments.shared import ALL_POSITIONS, TRAINED
from recbole_genrec.config.arguments.types import AtLeast0, Count, Form, Positive, Share, Text


@group
class ScheduleArguments(Arguments):
    """What changes over the steps of a training."""

    models: ClassVar[tuple] = (*TRAINED, *ALL_POSITIONS)

    lr_scheduler: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "cosine"
    """The learning rate after the warm-up: constant, falling to 0 over all epochs, or ``inverse_sqrt`` of the steps."""
    warmup_steps: AtLeast0 = 0
    """Steps in which the learning rate grows from 0. Below 1: their share of all steps."""
    hold_steps: Annotated[AtLeast0, Neutral(0), Needs("lr_scheduler", "linear", "cosine", "inverse_sqrt")] = 0
    """Steps after the warm-up at the full learning rate, before it falls. Below 1: their share of all steps."""
    ema_decay: Share = 0.0
    """Decay of the running average of the weights that is validated and kept. 0: no average."""


@group
class TrainerArguments(Arguments):
    """How the trainer steps. RecBole's own keys (``epochs``, ``learning_rate``, ...) keep their meaning."""

    models: ClassVar[tuple] = TRAINED

    learning_rate: AtLeast0 = 1e-3
    """Learning rate of the optimizer."""
    weight_decay: AtLeast0 = 0.0
    """Weight decay of the optimizer. Norms and biases are exempt."""
    adam_betas: Annotated[
        tuple[Share, Share], Strict(False), Form("two numbers in [0, 1)"), Needs("learner", "adam", "adamw")
    ] = (0.9, 0.999)
    """Decay rates of the two moments of Adam and AdamW."""
    gradient_accumulation_steps: Positive = 1
    """Batches whose gradients make one step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the forward pass (autocast). ``fp16`` scales the loss."""
    resume: Text = ""
    """Continue a training: ``auto`` (the newest checkpoint of the same run), ``previous``, or a checkpoint folder."""
    save_steps: Count = 0
    """Write the checkpoint ``last`` after every so many optimizer steps, too. 0: after every epoch only."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    """Several processes: each holds all weights (``ddp``), or a shard of every layer (``fsdp``)."""
