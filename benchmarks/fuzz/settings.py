"""Configuration files, values of the command line, and the three kinds of prompt files."""

import math

import yaml

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from recbole_genrec.config.arguments import plugin_keys
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.yaml_settings import YamlLoader, parse_value, read_yaml
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.prompt.question_prompts import load_questions
from recbole_genrec.prompt.task_prompts import load_tasks
from recbole_genrec.prompt.template import PromptTemplate, load_template

RECBOLE_KEYS = (
    "epochs train_batch_size eval_batch_size learning_rate seed topk metrics valid_metric eval_args load_col "
    "MAX_ITEM_LIST_LENGTH eval_step stopping_step clip_grad_norm USER_ID_FIELD field_separator eval_users valid_users "
    "cold_items benchmark_filename data_path checkpoint_dir show_progress train_neg_sample_args learner encoding gpu_id"
).split()
KEYS = sorted(plugin_keys()) + RECBOLE_KEYS


def same(value, other):
    """Whether two values of YAML are equal; NaN is NaN."""
    if isinstance(value, float) and isinstance(other, float) and math.isnan(value):
        return math.isnan(other)
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(same, value, other))
    return value == other


def repeats_a_key(content):
    """Whether a mapping of a YAML text has a key twice, by its nodes and not by its values."""

    def of(node, seen):
        if id(node) in seen:
            return False
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                return True
            return any(of(part, seen) for pair in node.value for part in pair)
        return isinstance(node, yaml.SequenceNode) and any(of(part, seen) for part in node.value)

    return of(yaml.compose(content, YamlLoader), set())


class ConfigFile(Target):
    """A configuration file: what a model reads of it is what stands in it, or it is refused."""

    name = "configuration"
    share = 2
    base = (
        b"epochs: 3\ntopk: [3]\nvalid_metric: NDCG@3\nlearning_rate: 1e-3\nprompt: continuation\nitem_text: '{title}'\n"
    )

    def case(self, draw):
        path = self.folder / "mine.yaml"
        content = mutate.yaml_lines(draw, self.base, KEYS) if draw.random() < 0.95 else self.base
        path.write_bytes(content)
        self.input, self.places = {"mine.yaml": content}, (path,)
        stored = read_yaml(path)
        assert not repeats_a_key(content.decode("utf-8-sig", "replace")), (
            "a key that comes twice was read without a word"
        )
        self.places = ("'", "configuration", "Unknown")  # from here on a key is named, or a model of RecBole's words
        config = GenRecConfig("GenRec", "tiny", [str(path)], {"data_path": str(self.folder)})
        for key in plugin_keys() & stored.keys():
            assert same(config[key], stored[key]), f"{key}: {stored[key]!r} became {config[key]!r}"
        return RIGHT


class CommandLine(Target):
    """A value of the command line is YAML, or it is refused by the name of its key."""

    name = "command line"

    def case(self, draw):
        key = draw.choice(KEYS)
        text = draw.choice((mutate.text(draw), draw.choice(mutate.YAML).partition(": ")[2]))
        if draw.random() < 0.03:  # the parser takes a second for it
            text = mutate.nested(draw)
        self.input, self.places = {key: text}, (f"--{key}",)
        value = parse_value(key, text)
        assert value == text or same(value, yaml.load(text, YamlLoader))
        return RIGHT


class Prompts(Target):
    """A prompt file of any of the three kinds: it is laid out as written, or it is refused."""

    name = "prompt files"
    share = 2
    kinds = {"prompt": load_template, "chat": load_questions, "task": load_tasks}

    def __init__(self, folder):
        super().__init__(folder)
        shipped = properties_folder()
        self.files = [
            (kind, file.read_bytes()) for kind in self.kinds for file in sorted(shipped.glob(f"{kind}/*.yaml"))
        ]

    def case(self, draw):
        kind, content = draw.choice(self.files)
        content = self._broken(draw, content)
        path = self.folder / f"{kind}.yaml"
        path.write_bytes(content)
        # what a dataclass refuses it refuses by the template's name
        self.input, self.places = {path.name: content}, (path, "'prompt'")
        loaded = self.kinds[kind](str(path))
        text = content.decode("utf-8-sig", "replace")
        assert not repeats_a_key(text), "a key that comes twice was read without a word"
        stored = yaml.safe_load(text)
        assert loaded.version == stored["version"] and not isinstance(loaded.version, bool)
        if kind == "prompt":
            self._check_template(draw, loaded, stored)
        elif kind == "chat":
            for task, question in loaded.tasks.items():
                assert {key: getattr(question, key) for key in stored[task]} == stored[task]
        else:
            for family, prompts in loaded.families.items():
                assert len(prompts) == len(stored[family])
        return RIGHT

    def _broken(self, draw, content):
        kind = draw.randrange(4)
        if kind == 0:
            return mutate.yaml_lines(
                draw, content, ("end", "lead", "prefix", "version", "instructions", "system", "direct")
            )
        text = content.decode()
        if kind == 1 and "{" in text:  # a field gets another name, or loses a brace
            place = draw.choice([place for place, character in enumerate(text) if character in "{}"])
            text = (
                text[:place]
                + draw.choice(("", "{", "}", "{unknown}", "{history}", "{0}", "{}", "{a.b}"))
                + text[place + 1 :]
            )
        elif kind == 2:
            stored = mutate.structure(draw, yaml.safe_load(text))
            text = yaml.safe_dump(stored, allow_unicode=False)
        else:
            text = text.replace(draw.choice(("{history}", ": ", "eos", "\\n", "version")), mutate.encodable(draw)[:200])
        return text.encode("utf-8", "ignore")

    @staticmethod
    def _check_template(draw, template, stored):
        for key, value in stored.items():
            assert same(getattr(template, key), value), key
        history = [f"item {mutate.encodable(draw)[:30]}" for _ in range(draw.randint(0, 4))]
        segments = template.segments(history, "target")
        assert [part.text for part in segments if part.kind == "item"] == history
        assert [part.kind for part in segments][-2:] == ["target", "end"]
        assert isinstance(template, PromptTemplate)
