"""All targets, in the order of the summary."""

from benchmarks.fuzz.atomic import Interactions, Items
from benchmarks.fuzz.checkpoints import Damaged, Edited
from benchmarks.fuzz.dumps import Amazon, MovieLens
from benchmarks.fuzz.replies import Texts, Wire
from benchmarks.fuzz.reports import Reports
from benchmarks.fuzz.settings import CommandLine, ConfigFile, Prompts
from benchmarks.fuzz.values import Values
from benchmarks.fuzz.worlds import Runs, Worlds

TARGETS = (
    Interactions,
    Items,
    ConfigFile,
    CommandLine,
    Prompts,
    MovieLens,
    Amazon,
    Worlds,
    Runs,
    Values,
    Damaged,
    Edited,
    Wire,
    Texts,
    Reports,
)
