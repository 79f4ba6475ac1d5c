"""Constrained decoding outside of the package: the exported file alone, against exact scores of every item."""

import json
import shutil
import subprocess
import sys
import types
from importlib import util
from types import SimpleNamespace

import pytest
import torch
import transformers

from recbole_genrec.serve import constrained
from recbole_genrec.serve.export import export
from tests.builders import write_base, write_checkpoint
from tests.serve.test_export import BASES, CASES, SMALL, SPECIAL, TITLES, recommender_scores

TRIED = ["scratch", "vocabulary", "new tokens", "whole", "p5", "tiger"]
CATALOGUE = {
    "tokens": ["h", "s", "f"],
    "texts": ["Heat", "Heathers", "Fargo"],
    "identifiers": [[7, 2], [7, 5], [9]],
    "prompt": {"start": [0], "between": [4], "suffix": [], "response": [3], "end": 1, "normalization": "trie"},
}


@pytest.fixture
def exported(tmp_path, write_dataset, monkeypatch):
    """A function that exports a model with random weights; gives the model and the exported file as a module."""
    monkeypatch.chdir(tmp_path)

    def make(case):
        name, family, settings = CASES[case]
        rows = [(f"u{u}", f"m{(u + t) % len(TITLES)}", 100 + t) for u in range(9) for t in range(5)]
        data_path = write_dataset(tmp_path / "data", rows, [(f"m{i}", title) for i, title in enumerate(TITLES)])
        if family:
            settings = settings | {"backbone": write_base(tmp_path / "base", BASES[family](), SPECIAL)}
        _, model, _ = write_checkpoint("best", name, {"data_path": data_path, **SMALL, **settings})
        export("best", "plain", merged=True)
        return model, load(tmp_path / "plain" / "constrained.py")

    return make


def load(path):
    spec = util.spec_from_file_location("constrained", path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_catalogue(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "items.json").write_text(json.dumps(CATALOGUE | changes), "utf-8")
    return folder


@pytest.mark.parametrize("case", TRIED)
@pytest.mark.parametrize("way", ["processor", "function"])
@pytest.mark.filterwarnings("ignore:.*past_key_values.* is deprecated:FutureWarning")
def test_beam_search_in_generate_finds_the_exact_list(exported, case, way):
    model, module = exported(case)
    catalogue = module.Catalogue("plain")
    seq2seq = transformers.AutoConfig.from_pretrained("plain").is_encoder_decoder
    kind = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    plain = kind.from_pretrained("plain").eval()
    for history in ([0, 1, 2], [8, 2, 2, 7]):
        prompt = torch.tensor([catalogue.prompt(history)])
        processor = module.InCatalogue(catalogue, 1 if seq2seq else prompt.shape[1])
        constraint = {"logits_processor": [processor]}
        if way == "function":
            constraint = {"prefix_allowed_tokens_fn": processor.allowed_tokens}
            constraint["renormalize_logits"] = catalogue.over_trie
        found = plain.generate(
            input_ids=prompt,
            num_beams=len(TITLES),
            num_return_sequences=len(TITLES),
            do_sample=False,
            length_penalty=0.0,
            max_new_tokens=40,
            eos_token_id=catalogue.end,
            **constraint,
        )
        places = [catalogue.place_of(ids) for ids in found[:, processor.skip :].tolist()]
        assert places == recommender_scores(model, [history])[0].argsort(descending=True).tolist()


def test_what_may_follow(tmp_path):
    catalogue = constrained.Catalogue(write_catalogue(tmp_path / "plain"))
    assert catalogue.prompt([2, 0]) == [0, 9, 4, 7, 2, 3]
    following = {beginning: catalogue.following(beginning).tolist() for beginning in [(), (7,), (7, 2), (9,), (9, 1)]}
    assert following == {(): [7, 9], (7,): [2, 5], (7, 2): [1], (9,): [1], (9, 1): [1]}
    assert [catalogue.place_of(ids) for ids in ([7], [7, 5], [7, 5, 1], [9, 1, 0, 0])] == [None, None, 1, 2]
    with pytest.raises(ValueError, match="No identifier of the catalogue begins with"):
        catalogue.following([9, 2])


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_scores_that_are_left(tmp_path, normalization):
    prompt = CATALOGUE["prompt"] | {"normalization": normalization}
    catalogue = constrained.Catalogue(write_catalogue(tmp_path / "plain", prompt=prompt))
    scores = torch.randn(12, generator=torch.Generator().manual_seed(1))
    left = catalogue.constrain([7], scores)
    assert left.isfinite().nonzero().ravel().tolist() == [2, 5]
    expected = scores[[2, 5]].log_softmax(0) if normalization == "trie" else scores[[2, 5]]
    torch.testing.assert_close(left[[2, 5]], expected)


def test_an_export_of_an_earlier_version_is_refused(tmp_path):
    folder = write_catalogue(tmp_path / "plain")
    content = {key: value for key, value in CATALOGUE.items() if key != "prompt"}
    (folder / "items.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="export the checkpoint again"):
        constrained.Catalogue(folder)


@pytest.fixture
def vllm(monkeypatch):
    """A stand-in with vLLM's interface of one processor a request, as its engine drives it."""

    class AdapterLogitsProcessor:
        def __init__(self, vllm_config, device, is_pin_memory):
            self.requests = {}

        def add(self, index, params, generated):
            constrain = self.new_req_logits_processor(params)
            if constrain:
                self.requests[index] = constrain, generated

        def apply(self, logits):
            for index, (constrain, generated) in self.requests.items():
                logits[index] = constrain(generated, logits[index])
            return logits

    names = "vllm", "vllm.v1", "vllm.v1.sample", "vllm.v1.sample.logits_processor"
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[names[-1]].AdapterLogitsProcessor = AdapterLogitsProcessor


def test_vllm_keeps_each_request_in_its_catalogue(tmp_path, vllm):
    """Greedily, rows of one batch at different places, against the best of all items by their summed scores."""
    here, other = write_catalogue(tmp_path / "here"), write_catalogue(tmp_path / "other", identifiers=[[3], [4], [5]])
    shutil.copyfile(constrained.__file__, here / "constrained.py")
    kind = load(here / "constrained.py").InCatalogueForVLLM
    assert kind.__qualname__ == "InCatalogueForVLLM"
    processor = kind(None, torch.device("cpu"), False)
    assert processor.is_argmax_invariant() is False
    asked = [None, {"in_catalogue": False}, {"catalogue": str(other)}, {}]
    generated = [[], [], [], [7]]
    for index, (extra_args, ids) in enumerate(zip(asked, generated)):
        processor.add(index, SimpleNamespace(extra_args=extra_args), ids)
    logits = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    allowed = [row.isfinite().nonzero().ravel().tolist() for row in processor.apply(logits.clone())]
    assert allowed == [[7, 9], list(range(12)), [3, 4, 5], [2, 5]]
    generated[0].append(9)  # vLLM appends to the list that it handed over
    assert processor.apply(logits.clone())[0].isfinite().nonzero().ravel().tolist() == [1]


def test_the_file_needs_torch_alone(tmp_path):
    write_catalogue(tmp_path / "plain")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['recbole', 'recbole_genrec', 'transformers', 'vllm']));"
        f"sys.path.insert(0, {str(tmp_path / 'plain')!r}); import constrained;"
        f"print(constrained.Catalogue({str(tmp_path / 'plain')!r}).following([]).tolist())"
    )
    shutil.copyfile(constrained.__file__, tmp_path / "plain/constrained.py")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[7, 9]"
