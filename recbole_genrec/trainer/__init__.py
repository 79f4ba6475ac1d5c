"""Trainers, each RecBole's with what its model needs beside; :func:`recbole_genrec.utils.get_trainer` picks one."""

from recbole_genrec.trainer.genrec import GenRecTrainer
from recbole_genrec.trainer.resuming import PLACE_KEYS, run_name
from recbole_genrec.trainer.sharing import for_several_processes
from recbole_genrec.trainer.stages import GenRecSeq2SeqTrainer
from recbole_genrec.trainer.untrained import PromptLLMTrainer
from recbole_genrec.trainer.windows import SASRecAllTrainer

__all__ = [
    "PLACE_KEYS",
    "GenRecSeq2SeqTrainer",
    "GenRecTrainer",
    "PromptLLMTrainer",
    "SASRecAllTrainer",
    "for_several_processes",
    "run_name",
]
