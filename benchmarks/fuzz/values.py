"""Settings nobody would type on purpose: every key, with values of wrong types, out of range, empty, huge, nested."""

import contextlib
import io
import json
import os
import shutil
from collections import Counter
from typing import Literal, get_args, get_origin

import torch
import yaml
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.fuzz.target import REFUSED, RIGHT, Target
from benchmarks.fuzz.world import SMALL, write_dataset
from recbole_genrec.cli.main import main
from recbole_genrec.config.arguments.schema import all_settings

MODELS = (
    "GenRec",
    "GenRec",
    "GenRec,SASRecAll",
    "GRU4Rec",
    "SASRec,GenRec",
    "P5",
    "GenRecSeq2Seq",
    "TALLRec",
    "TIGER",
    "UniTRec",
    "PromptLLM",
    "BERT4Rec",
    "SASRecAll",
    "BSARec",
    "HSTU",
)
#: values of any key; as texts of a command line they are YAML.
VALUES = (
    *(
        "",
        "None",
        "~",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "2",
        "3",
        "0.5",
        "-0.5",
        "1.5",
        "1e300",
        "-1e-300",
        "nan",
        ".nan",
    ),
    *(
        ".inf",
        "9" * 30,
        "x",
        "X" * 3_000,
        "[5,inf)",
        "(0,3]",
        "[3,1]",
        "[]",
        "[1]",
        "[1, 2]",
        "[a]",
        "[user_id]",
        "[[1]]",
    ),
    *("{}", "{a: 1}", "{a: {b: [1]}}", "{inter: [user_id, item_id, timestamp]}", "{item: '*'}", "item_id", "timestamp"),
    *(
        "'quoted'",
        "a,b",
        "1,2",
        "é",
        "{",
        "[",
        ": ",
        "- 1",
        "!!python/object:os.system x",
        "NDCG@3",
        "hit",
        "adam",
        "full",
    ),
)
#: parts of nested settings: each key with values that are right, and with some that are not.
NESTED = {
    "eval_args": {
        "split": ("{LS: valid_and_test}", "{LS: valid_only}", "{LS: 3}", "{RS: [0.8, 0.1, 0.1]}", "{RS: [1, 0, 0]}")
        + ("{RS: [1]}", "{RS: [-1, 1, 1]}", "{TS: [0.6, 0.2, 0.2]}", "{CV: 3}", "{}", "x", "None"),
        "splits": ("{RS: [0.4, 0.3, 0.3]}",),
        "order": ("TO", "RO", "to", "3", "None"),
        "group_by": ("user", "none", "None", "item", "[user]"),
        "mode": ("full", "uni3", "pop3", "uni", "uni0", "uni-1", "uni1000000", "labeled", "x", "[full]")
        + ("{valid: full, test: uni2}", "{valid: uni2}", "{tset: full}", "{valid: 3}"),
    },
    "train_neg_sample_args": {
        "distribution": ("uniform", "popularity", "unifrom", "None", "3"),
        "sample_num": ("1", "0", "-1", "x", "2.5", "3"),
        "alpha": ("1", "-1", "x"),
        "dynamic": ("true", "1", "x"),
        "candidate_num": ("0", "2", "-1"),
        "negatives": ("1",),
    },
    "clip_grad_norm": {
        "max_norm": ("1", "0", "-1", "x", "nan"),
        "norm_type": ("2", "0", "x"),
        "maxnorm": ("1",),
    },
    "load_col": {
        "inter": (
            "[user_id, item_id, timestamp]",
            "[user_id, item_id]",
            "[user_id, item_id, timestamp, nothing]",
            "x",
            "'*'",
        ),
        "item": ("[item_id, title]", "[item_id, nothing]", "[title]", "'*'", "3", "None"),
        "user": ("[user_id]", "'*'"),
        "nofile": ("[user_id]",),
    },
    "val_interval": {
        "timestamp": ("'[0,inf)'", "'[2,inf)'", "'>3'", "'[9,inf)'", "'(3,1)'", "[1]", "3"),
        "year": ("'[1990,1994]'", "[a]"),
        "nothing": ("'[0,inf)'",),
    },
    "tasks": {"sequential": ("1", "0", "-1", "x"), "direct": ("1", "0"), "rating": ("1",), "chat": ("1",)},
    "threshold": {"timestamp": ("1", "x")},
    "chat_options": {"temperature": ("0",), "model": ("x",), "api_key": ("x",)},
    "preload_weight": {"user_id": ("x",)},
    "seq_len": {"title": ("3", "x")},
}


def value_text(draw, key):
    """A value of a key as a command line has it."""
    if key in NESTED and draw.random() < 0.7:
        parts = {name: draw.choice(values) for name, values in NESTED[key].items() if draw.random() < 0.35}
        return "{" + ", ".join(f"{name}: {value}" for name, value in parts.items()) + "}"
    if draw.random() < 0.5 and key in all_settings():
        return fitting_text(draw, draw.choice(all_settings()[key]))
    return draw.choice(VALUES)


def fitting_text(draw, setting):
    """A value that a setting accepts, or one right beside its bounds."""
    kinds = [setting.annotation, *get_args(setting.annotation)]
    bounds = [bound for item in setting.metadata for bound in (getattr(item, "ge", None), getattr(item, "le", None))]
    low = next((bound for bound in bounds if bound is not None), 0)
    if get_origin(setting.annotation) is Literal:
        return str(draw.choice(get_args(setting.annotation)))
    if bool in kinds:
        return draw.choice(("true", "false"))
    if int in kinds:
        return str(low + draw.choice((-1, 0, 1, 2, 4)))
    if float in kinds:
        return str(draw.choice((0, 0.1, 0.5, 0.9, 1, 1.5)))
    if not setting.default or not isinstance(setting.default, (str, list, tuple)):
        return draw.choice(("", "None", "[]", "title"))
    return yaml.safe_dump(_listed(setting.default), default_flow_style=True).split("\n")[0]


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


class Values(Target):
    """A run with settings of any kind: right, or refused in one line before anything is trained."""

    name = "values of settings"
    share = 2

    def __init__(self, folder):
        super().__init__(folder)
        self.data_path = write_dataset(folder / "data")
        self.keys = sorted(
            all_settings().keys() - {"model", "dataset", "config_files", "checkpoint_dir", "results_dir"}
        )
        self.steps = Counter()
        register_optimizer_step_post_hook(lambda *_: self.steps.update(steps=1))
        os.environ.setdefault("HF_HUB_OFFLINE", "1")

    def arguments(self, draw):
        """The command line of a case."""
        small = {
            key: value for key, value in SMALL.items() if key in ("topk", "valid_metric", "epochs", "show_progress")
        }
        small |= {"MAX_ITEM_LIST_LENGTH": 5, "data_path": self.data_path, "eval_batch_size": 8}
        given = {key: yaml.safe_dump(value, default_flow_style=True).split("\n")[0] for key, value in small.items()}
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            key = draw.choice(self.keys + [*NESTED] * 3)
            if draw.random() < 0.05:  # misspelt
                key = key[:-1] + draw.choice("aeiou_")
            given[key] = value_text(draw, key)
        return [f"--model={draw.choice(MODELS)}", "--dataset=tiny", *(f"--{key}={text}" for key, text in given.items())]

    def case(self, draw):
        arguments, here = self.arguments(draw), os.getcwd()
        settings = self.folder / "small.yaml"
        settings.write_text(
            yaml.safe_dump({k: v for k, v in SMALL.items() if k.startswith("scratch") or "tokens" in k})
        )
        self.input = {"arguments": json.dumps(arguments, ensure_ascii=False)}
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        self.steps.clear()
        said, printed = io.StringIO(), io.StringIO()
        os.chdir(work)
        threads = torch.get_num_threads()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
                code = main([*arguments, f"--config_files={settings}"])
        finally:
            os.chdir(here)
            torch.set_num_threads(threads)
        if code == 0:
            results = [
                json.loads(path.read_text("utf-8")) for path in work.rglob("*.json") if path.parent.name != "best"
            ]
            assert any("test_result" in result for result in results), "no result"
            return RIGHT
        lines = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
        assert code == 2 and len(lines) == 1, f"exit code {code}: {said.getvalue()[-500:]}"
        assert not self.steps["steps"], f"refused after {self.steps['steps']} steps of training: {lines[0]}"
        assert len(lines[0]) < 3_000, f"the message is {len(lines[0])} characters long"
        self.input["error"] = lines[0]
        return REFUSED
