"""The reference of all settings as Markdown.

``python -m recbole_genrec.config.arguments.reference > docs/settings.md``
"""

import re
from importlib.resources import files

import yaml

from recbole_genrec.config.arguments.base import Needs
from recbole_genrec.config.arguments.schema import (
    ARGUMENT_GROUPS,
    GROUPS,
    RECBOLE_GROUPS,
    default_of,
    described,
    need_in_words,
    readers,
)
from recbole_genrec.files.properties import properties_folder

HEAD = """\
# Settings

Every key that a run can have: what it accepts, its default and which models read it. `python -m recbole_genrec --help
KEY` prints the same for one key. This page is made by `python -m recbole_genrec.config.arguments.reference`.

Later sources override earlier ones: RecBole's defaults, `properties/overall.yaml`, `properties/model/<model>.yaml`,
`properties/dataset/<dataset>.yaml`, the files of `--config_files` in order, `config_dict`, the command line. A section
named after a model (`SASRec: {...}`) holds for that model alone, over other keys of the same file. The defaults
below are those of GenRec, or of the first model that reads the key.
Generative models are GenRec, GenRecSeq2Seq, P5, PEPLER,
PromptLLM, TALLRec, TIGER and UniTRec.

A value that does not fit is refused before anything is read or trained; so is a key of the command line that no model
of the run reads, and a key that has no effect beside another. Keys of a file that no model of the run reads are listed
in the log: a file may be shared by several runs.
"""
TITLES = {
    "PromptArguments": "Prompt",
    "IndexingArguments": "Item indexing",
    "BackboneArguments": "Backbone",
    "EngineArguments": "Engine",
    "TextVectorArguments": "Text vectors",
    "GenRecArguments": "GenRec",
    "ContextArguments": "Context",
    "PretrainArguments": "Pretraining",
    "P5Arguments": "P5, PromptLLM and PEPLER: tasks",
    "ExplanationArguments": "P5 and PEPLER: features of explanations",
    "PEPLERArguments": "PEPLER",
    "PromptLLMArguments": "PromptLLM",
    "Seq2SeqArguments": "GenRecSeq2Seq",
    "TigerArguments": "TIGER",
    "UserArguments": "Users in prompts",
    "AlignmentArguments": "Alignment tasks",
    "SequenceArguments": "GenRecSeq2Seq, TIGER and UniTRec: targets",
    "TALLRecArguments": "TALLRec",
    "UniTRecArguments": "UniTRec",
    "BSARecArguments": "BSARec",
    "HSTUArguments": "HSTU",
    "ScheduleArguments": "Schedule",
    "TrainerArguments": "Trainer",
    "RunnerSettings": "Run",
    "DataSettings": "Data (RecBole)",
    "TrainingSettings": "Training (RecBole)",
    "EvaluationSettings": "Evaluation (RecBole)",
    "EnvironmentSettings": "Environment (RecBole)",
    "RecBoleGeneralSettings": "RecBole's general models",
    "RecBoleModelSettings": "RecBole's sequential models, and what general ones share",
}


def reference() -> str:
    """The page."""
    parts, seen = [HEAD], set()
    for group in GROUPS:
        rows = []
        for key, setting in described(group).items():
            if key in seen and group not in (*ARGUMENT_GROUPS, *RECBOLE_GROUPS):
                continue  # a key of RecBole's that a group of ours has described already
            seen.add(key)
            needs = "; ".join(map(need_in_words, setting.metadata_of(Needs)))
            meaning = _markdown(" ".join(setting.sentence.split())) + (f" Needs {needs}." if needs else "")
            cells = (f"`{key}`", _default(setting), setting.expected, readers(setting), meaning)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if group in RECBOLE_GROUPS:
            rows = [re.sub(r" \| those of RecBole's models whose file names it \|", " |", row) for row in rows]
            head = ["| key | default | accepts | meaning |", "|---|---|---|---|"]
        else:
            head = ["| key | default | accepts | read by | meaning |", "|---|---|---|---|---|"]
        lead = _markdown(group.__doc__.strip().splitlines()[0])
        if group in RECBOLE_GROUPS:
            lead = "Each model reads those that its file in RecBole names; the defaults differ between them."
        parts.append("\n".join([f"## {TITLES[group.__name__]}\n", lead + "\n", *head, *rows]) + "\n")
    return "\n".join(parts)


def _default(setting):
    """The default with which the first model that reads the setting runs."""
    if setting.group in RECBOLE_GROUPS:
        return ""
    value = _shipped(setting).get(setting.key, setting.default)
    if value in (None, ""):
        return ""
    text = default_of(setting) if value == setting.default else _yaml(value)
    return f"`{text.encode('unicode_escape').decode()}`" if text else ""


def _yaml(value):
    return yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip().removesuffix("\n...")


def _shipped(setting):
    """What RecBole's and the shipped files set for that model."""
    name = next(
        (name for name in ("GenRec", *setting.models) if not setting.models or name in setting.models), "GenRec"
    )
    recbole, settings = files("recbole") / "properties", {}
    for file in (
        recbole / "overall.yaml",
        recbole / "dataset" / "sample.yaml",
        properties_folder() / "overall.yaml",
        properties_folder() / "model" / f"{name}.yaml",
    ):
        settings |= yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}
    return settings


def _markdown(text):
    """Turn literals of reStructuredText into Markdown's."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


if __name__ == "__main__":
    print(reference(), end="")
