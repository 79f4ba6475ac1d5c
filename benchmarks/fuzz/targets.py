"""All targets, in the order of the summary."""

from benchmarks.fuzz.atomic import Interactions, Items
from benchmarks.fuzz.checkpoints import Damaged, Edited
from benchmarks.fuzz.replies import Texts, Wire
from benchmarks.fuzz.settings import CommandLine, ConfigFile, Prompts

TARGETS = (Interactions, Items, ConfigFile, CommandLine, Prompts, Damaged, Edited, Wire, Texts)
