"""Checkpoint folders: damaged, and edited by somebody who knows how to write a manifest."""

import json
import math
import shutil

import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from benchmarks.fuzz.world import TITLES, build, write_dataset
from recbole_genrec.catalogue.index import read_draft
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import FORMAT, fingerprint
from recbole_genrec.checkpoint.training_state import TrainingState, optimizer_state, read_average, restore_random_states
from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.serve.history_reader import ItemId, UserHistory
from recbole_genrec.serve.recommender import GenRecommender

HISTORIES = [
    [TITLES[0], ItemId("m3", time=3, values={"rating": 4})],
    [],
    UserHistory(["a film about sharks", TITLES[1]], {"age": 24, "job": "writer"}),
]


def files_of(folder):
    """Content of every file, by its name below the folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_manifest(folder):
    """Make a manifest that fits what is there."""
    names = [name for name in files_of(folder) if name != "manifest.json"]
    entries = {name: fingerprint(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": entries}), "utf-8")


class Checkpoint(Target):
    """What is shared: a sound checkpoint, its answers, and a copy to break."""

    settings = {"history": "both", "edge_embedding": True, "item_prior": True, "text_vectors": "tfidf"}
    settings |= {"context": ["gap", "request_time", "rating"], "user_columns": ["age", "job"]}

    def __init__(self, folder):
        super().__init__(folder)
        data_path = write_dataset(folder / "data")
        self.config, self.model = build(data_path, **self.settings)
        _, self.other = build(data_path, seed=2, **self.settings)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.model.backbone.embed(torch.tensor([[1]])).sum().backward()
        self.optimizer.step()
        trainer = {"epoch": 0, "cur_step": 0, "best_valid_score": 0.5, "best_valid_result": {}, "step": 1, "scaler": {}}
        state = TrainingState(trainer, optimizer_state(self.optimizer), list(self.model.parameters()))
        save_checkpoint(folder / "sound", self.model, self.config, state)
        self.sound = files_of(folder / "sound")
        self.expected = GenRecommender(folder / "sound", "cpu").recommend(HISTORIES, 3)
        self.broken = folder / "broken"

    def copy(self):
        shutil.rmtree(self.broken, ignore_errors=True)
        shutil.copytree(self.folder / "sound", self.broken)
        # numbers that grow too large on the way are no fault of a file
        self.places = (self.broken, "The language model gives a score of", "The text '", "The catalogue has no item")

    def read(self, draw):
        """Read the broken copy in one of the ways there are; ``None``, or recommendations."""
        way = draw.randrange(5)
        if way == 0:
            self._load()
        elif way == 1:
            assert set(load_as_recbole(self.broken)) >= {"config", "state_dict", "epoch"}
        else:
            return GenRecommender(self.broken, "cpu").recommend(HISTORIES, 3)
        return None

    def _load(self):
        """Into a model of the same kind, which stays as it is where the checkpoint is refused."""
        before = {name: tensor.clone() for name, tensor in self.other.state_dict().items()}
        optimizer, own = torch.optim.AdamW(self.other.parameters()), self.other.state_dict()
        try:
            load_checkpoint_into(self.other, self.broken, optimizer)
            assert all(torch.isfinite(tensor).all() for tensor in own.values())
            self.other.backbone.embed(torch.tensor([[1]])).sum().backward()
            optimizer.step()
            read_average(self.broken)
            restore_random_states(self.broken)
        except GenRecError as error:
            if "rng.json" not in str(error) and "average" not in str(error):
                assert all(torch.equal(tensor, own[name]) for name, tensor in before.items()), "half of it was loaded"
            raise
        finally:
            self.other.load_state_dict(before)


class Damaged(Checkpoint):
    """A changed, cut or missing file: refused, whatever it is."""

    name = "damaged checkpoint"
    share = 2

    def case(self, draw):
        self.copy()
        name = draw.choice(sorted(self.sound))
        path, content = self.broken / name, self.sound[name]
        kind = draw.randrange(6)
        if kind == 0:
            path.unlink()
            changed = None
        elif kind == 1:  # a file that nobody has signed
            other = draw.choice(
                ("adapter/adapter_model.safetensors", "tokenizer/special_tokens_map.json", "rng.json.json")
            )
            (self.broken / other).parent.mkdir(exist_ok=True)
            changed, path = mutate.some_bytes(draw, content), self.broken / other
            path.write_bytes(changed)
        elif name == "manifest.json" and kind == 2:
            changed = json.dumps(mutate.structure(draw, json.loads(content))).encode()
            path.write_bytes(changed)
        else:
            changed = mutate.some_bytes(draw, content)
            path.write_bytes(changed)
        self.input = {name: changed or b""}
        found = self.read(draw)
        # a manifest may be written in another way
        assert changed == content or name == "manifest.json" or kind == 1, f"{name} was changed, and read"
        assert found is None or found == self.expected
        return RIGHT


class Edited(Checkpoint):
    """A checkpoint whose manifest fits, but whose content does not: refused, or ranked with as it stands."""

    name = "edited checkpoint"
    share = 3

    def case(self, draw):
        self.copy()
        name = draw.choice([name for name in self.sound if name != "manifest.json"])
        path = self.broken / name
        content = self._edited(draw, name, self.sound[name])
        if content is not None:
            path.write_bytes(content)
        elif path.exists() and name.endswith("safetensors"):
            self._edit_tensors(draw, path)
        else:
            path.unlink()
        self.input = {name: path.read_bytes() if path.exists() else b""}
        write_manifest(self.broken)
        found = self.read(draw)
        if found is not None:
            tokens = set(json.loads((self.broken / "items.json").read_text("utf-8"))["tokens"])
            for answer in found:
                ids = [item.item_id for item in answer]
                assert len(set(ids)) == len(ids) == min(3, len(tokens)) and set(ids) <= tokens
                assert all(math.isfinite(item.probability) for item in answer)
        if draw.random() < 0.2:
            read_draft(self.broken, self.model.catalogue.item_tokens)
        return RIGHT

    def _edited(self, draw, name, content):
        """New content; ``None``: no such file, or other tensors."""
        kind = draw.randrange(8)
        if kind == 0:
            return mutate.some_bytes(draw, content)
        if kind == 1:
            return None
        if name.endswith(".json"):
            if draw.random() < 0.05:
                return mutate.nested(draw).encode()
            return json.dumps(mutate.structure(draw, json.loads(content))).encode()
        if name.endswith(".yaml"):
            if draw.random() < 0.3:
                return mutate.yaml_lines(draw, content, ("version", "end", "prefix"))
            return yaml.safe_dump(mutate.structure(draw, yaml.safe_load(content))).encode()
        if name.endswith(".safetensors"):
            return None
        return mutate.some_bytes(draw, content)

    def _edit_tensors(self, draw, path):
        """Give some tensors other values, shapes, types or names."""
        tensors = load_file(path)
        for name in draw.sample(sorted(tensors), draw.randint(1, min(2, len(tensors)))):
            tensor, kind = tensors[name].clone(), draw.randrange(7)
            if kind < 3 and tensor.numel() and tensor.is_floating_point():
                count = draw.choice((1, tensor.numel()))
                tensor.view(-1)[:count] = draw.choice((math.nan, math.inf, -math.inf, 3e38))
            elif kind == 3:
                tensor = tensor.reshape(-1)[: draw.randint(0, tensor.numel())].clone()
            elif kind == 4:
                tensor = tensor.to(draw.choice((torch.int64, torch.float16, torch.bool)))
            elif kind == 5:
                del tensors[name]
                name = draw.choice((name + "x", "backbone.x", ""))
            else:
                tensor = torch.cat([tensor, tensor]) if tensor.ndim else tensor[None]
            tensors[name] = tensor
        save_file(tensors, path, {"format": "pt", "tied": draw.choice(("{}", "[1]", "{", '{"a": "b"}', "null"))})
