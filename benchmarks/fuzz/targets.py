"""All targets, in the order of the summary."""

from benchmarks.fuzz.atomic import Interactions, Items
from benchmarks.fuzz.settings import CommandLine, ConfigFile, Prompts

TARGETS = (Interactions, Items, ConfigFile, CommandLine, Prompts)
