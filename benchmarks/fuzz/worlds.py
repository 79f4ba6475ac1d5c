"""Titles, histories and catalogues that nobody thought of: from atomic files to lists, and whole runs."""

import contextlib
import io
import math
import os
import shutil

import numpy as np
import torch
from recbole.data.interaction import Interaction

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from benchmarks.fuzz.world import SMALL, build, write_dataset
from recbole_genrec import run_recbole_genrec
from recbole_genrec.files.text import clean_text

#: settings that a refusal may be about: too little room for a title, a list longer than the catalogue.
KEYS = (
    "max_prompt_tokens",
    "topk",
    "num_beams",
    "tokenizer",
    "Dataset",
    "tiny.inter",
    "tiny.item",
    "scratch_vocab_size",
)


def hostile_titles(draw):
    """One to twelve titles; whatever is in them, they stay in their cells."""
    kind, count = draw.randrange(5), draw.choice((1, 2, 5, 12))
    if kind == 0:
        titles = [mutate.encodable(draw)] * count
    elif kind == 1:
        titles = ["x" * draw.choice((1, 10_000)) + "y" * number for number in range(count)]
    else:
        titles = [draw.choice(("Heat", mutate.encodable(draw))) for _ in range(count)]
    return ["".join(" " if character in "\t\n\r\0" else character for character in title) for title in titles]


def hostile_histories(draw, count):
    """Histories of nothing, of one item, of the same item again and again, and longer than any prompt."""
    lengths = [draw.choice((0, 1, 2, 3, 4, 9, 200)) for _ in range(draw.randint(1, 4))] + [4]
    return [[draw.randrange(draw.choice((1, count))) for _ in range(length)] for length in lengths]


def check_lists(model, items, k):
    """Lists ``[B, K]`` hold K distinct items of the catalogue."""
    assert items.shape[1] == k
    for row in items.tolist():
        assert len(set(row)) == k and min(row) >= 1 and max(row) <= model.trie.n_items


class Worlds(Target):
    """A model of the dataset: identifiers, trie, prompts, loss and lists."""

    name = "titles and histories"
    share = 2

    def case(self, draw):
        titles = hostile_titles(draw)
        k = draw.choice((1, 1, 3, len(titles), len(titles) + 1))
        settings = {
            "topk": [k],
            "valid_metric": f"NDCG@{k}",
            "max_prompt_tokens": draw.choice((16, 96, 4000)),
            "prompt": draw.choice(("continuation", "instruction")),
            "decoding": draw.choice(("exact", "beam", "full")),
            "normalization": draw.choice(("trie", "vocab")),
            "item_indexing": draw.choice(("title", "title", "title", "random", "sequential", "independent")),
        }
        self.input, self.places = {"titles": "\n".join(titles), "settings": str(settings)}, KEYS
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        data_path = write_dataset(self.folder / "data", titles, hostile_histories(draw, len(titles)))
        config, model = build(data_path, **settings)
        catalogue, special = model.catalogue, set(model.backbone.tokenizer.all_special_ids)
        count = len(catalogue.item_tokens)
        assert model.trie.n_items == count == int((model.trie.edge_item > 0).sum())
        assert len(set(catalogue.identifiers)) == count and all(catalogue.identifiers)
        assert not special & {token for identifier in catalogue.identifiers for token in identifier}
        if settings["item_indexing"] == "title":
            for token, text, identifier in zip(catalogue.item_tokens, catalogue.texts, catalogue.identifiers):
                written = clean_text(titles[int(token[1:])])
                assert text.startswith(written or "item "), "the identifier is not made of the title"
                assert model.backbone.tokenizer.decode(identifier).endswith(text)
        self._check_ranking(draw, model, k)
        return RIGHT

    @staticmethod
    def _check_ranking(draw, model, k):
        width, count = 5, model.trie.n_items
        lengths = [draw.randint(1, width) for _ in range(3)]
        histories = torch.zeros(3, width, dtype=torch.long)
        for row, length in enumerate(lengths):
            histories[row, :length] = torch.tensor([draw.randint(1, count) for _ in range(length)])
        batch = {
            model.ITEM_SEQ: histories,
            model.ITEM_SEQ_LEN: torch.tensor(lengths),
            model.ITEM_ID: torch.tensor([draw.randint(1, count) for _ in lengths]),
        }
        interaction = Interaction(batch)
        scores = model.full_sort_predict(interaction)
        best, items = scores.topk(k)
        assert torch.isfinite(best).all() and (scores[:, 0] == -torch.inf).all()
        check_lists(model, items, k)
        if model.engine.normalization == "trie" and model.engine.decoding == "full":
            assert torch.allclose(scores.exp().sum(1), torch.ones(3), atol=1e-4)
        with torch.no_grad():
            assert math.isfinite(float(model.calculate_loss(interaction)))


class Runs(Target):
    """A whole run: training, validation, test, results and checkpoints."""

    name = "whole runs"
    share = 0.1

    def case(self, draw):
        titles = hostile_titles(draw)
        k = draw.choice((1, min(3, len(titles))))
        settings = {**SMALL, "topk": [k], "valid_metric": f"NDCG@{k}", "max_prompt_tokens": draw.choice((96, 4000))}
        settings["prompt"] = draw.choice(("continuation", "instruction"))
        self.input, self.places = {"titles": "\n".join(titles), "settings": str(settings)}, KEYS
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        settings["data_path"] = write_dataset(work / "data", titles, hostile_histories(draw, len(titles)))
        before = os.getcwd()
        os.chdir(work)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
        finally:
            os.chdir(before)
        assert result["generation"]["valid_share"] == 1
        assert all(0 <= value <= 1 for value in result["test_result"].values())
        assert np.isfinite([epoch["train_loss"] for epoch in result["curve"] if "train_loss" in epoch]).all()
        return RIGHT
