"""PromptLLM on the checkerboard: a model built from settings, a result read back, and scripts for a server."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from tests.model.conftest import BLACK, WHITE

needs_chat = pytest.mark.skipif(
    find_spec("openai") is None or find_spec("rapidfuzz") is None, reason="needs the extra 'chat'"
)


def built(settings):
    config = GenRecConfig("PromptLLM", "tiny", config_dict=settings)
    data = SplitData([config])
    return config, data, build_model(config, data)


def saved():
    return json.loads(Path("results/PromptLLM-tiny-2020.json").read_text("utf-8"))


def history_of(body):
    """Titles of the last list in a question, without candidates."""
    asked = body["messages"][-1]["content"].split("A user chose")[-1].split("The next one may")[0]
    return re.findall(r"^- (.+)$", asked, re.MULTILINE)


def oracle(body, number=0):
    """Knows the answer: users walk along black items or along white ones, in a fixed circle."""
    last = history_of(body)[-1]
    circle = BLACK if last in BLACK else WHITE
    place = circle.index(last)
    return json.dumps({"titles": [circle[(place + step) % 6] for step in range(1, 6)]})


def prose(body, number=0):
    return "Sure!\n" + "\n".join(f"{place}. {title}" for place, title in enumerate(json.loads(oracle(body))["titles"]))
