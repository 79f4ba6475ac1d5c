"""Settings of the trainer."""

from dataclasses import dataclass

from recbole_genrec.arguments.base import Arguments, at_least, one_of, share, whole
from recbole_genrec.errors import GenRecError, shown


@dataclass(frozen=True)
class ScheduleArguments(Arguments):
    """What changes over the steps of a training."""

    #: ``constant``, ``linear`` or ``cosine`` decay to zero over all epochs, after the warm-up.
    lr_scheduler: str = "cosine"
    #: steps in which the learning rate grows from 0, or below 1 their share of all steps.
    warmup_steps: float = 0
    #: share of the old value in the running average of the weights that is validated and kept; 0: no average.
    ema_decay: float = 0.0

    def __post_init__(self):
        one_of("lr_scheduler", self.lr_scheduler, ("constant", "linear", "cosine"))
        at_least("warmup_steps", self.warmup_steps, 0)
        share("ema_decay", self.ema_decay)


@dataclass(frozen=True)
class TrainerArguments(Arguments):
    """How the trainer steps. RecBole's own keys (``epochs``, ``learning_rate``, ...) keep their meaning."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    adam_betas: tuple = (0.9, 0.999)
    gradient_accumulation_steps: int = 1
    #: ``fp32``, ``bf16`` or ``fp16`` autocast; ``fp16`` scales the loss.
    precision: str = "fp32"
    #: ``""`` (start anew), ``auto`` (the newest checkpoint of the same run), ``previous`` (the one before it) or a
    #: checkpoint folder.
    resume: str = ""
    #: write ``last`` after every so many optimizer steps, too; 0: after every epoch.
    save_steps: int = 0
    #: what several processes do with the weights: ``ddp``, each holds all of them; ``fsdp``, each holds a share of
    #: every layer of the language model, and gathers it when its turn comes. A single process holds all.
    distributed: str = "ddp"

    def __post_init__(self):
        at_least("learning_rate", self.learning_rate, 0)
        at_least("weight_decay", self.weight_decay, 0)
        one_of("precision", self.precision, ("fp32", "bf16", "fp16"))
        one_of("distributed", self.distributed, ("ddp", "fsdp"))
        whole("gradient_accumulation_steps", self.gradient_accumulation_steps, 1)
        whole("save_steps", self.save_steps, 0)
        if not isinstance(self.adam_betas, (list, tuple)) or len(self.adam_betas) != 2:
            raise GenRecError(f"'adam_betas' must be two numbers, not {shown(self.adam_betas)}.")
        for beta in self.adam_betas:
            share("adam_betas", beta)
        object.__setattr__(self, "adam_betas", tuple(self.adam_betas))
