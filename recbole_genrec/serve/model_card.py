"""The card of an exported model: what it is, how to use it, and its measured metrics."""

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from recbole_genrec import __version__
from recbole_genrec.backbone.loading import SCRATCH
from recbole_genrec.batches.tokens import PromptParts
from recbole_genrec.config.arguments.shared import VIRTUAL
from recbole_genrec.runs.result import read_run, result_file

#: longest list in the card's code.
LIST_LENGTH = 10

CARD = """\
---
{metadata}
---

# {title}

{what}
It answers the history of a user with the next of {n_items:,} items. Made by {model} of recbole_genrec {version}, from
{backbone}, on {dataset} (seed {seed}).

- `items.json`: every item's token (its id in the data), text, and `identifiers`, the tokens that name it.
- `prompt.yaml`: the prompt.
- `constrained.py`: keeps `generate` of transformers and vLLM in the catalogue; it needs torch alone.

## Prompt

A prompt is made of tokens, not of one text, which a tokenizer might cut otherwise: `start`, the identifiers of the
history from the oldest item to the latest with `between` between two of them and `suffix` after each, and `response`.
{of_answers} The answer is an identifier and the token `end`.

The first {n_example} items of the catalogue as a history:

```
{example}
```

## Use

```python
{code}
```

{normalization}

## Measured

{measured}
"""

CODE = """\
import json
from pathlib import Path

import torch
from {library} import {auto_class}

folder = Path("{name}")
model = {auto_class}.from_pretrained(folder).eval()
items = json.loads((folder / "items.json").read_text("utf-8"))
identifiers = items["identifiers"]

start, between, suffix, response, end = {start}, {between}, {suffix}, {response}, {end}
history = {history}  # places in items.json
prompt = list(start)
for place, item in enumerate(history):
    prompt += [*(between if place else []), *identifiers[item], *suffix]
prompt += response

following = {{}}  # tokens that can come after the beginning of an identifier
for identifier in identifiers:
    for place, token in enumerate([*identifier, end]):
        following.setdefault(tuple(identifier[:place]), set()).add(token)
"""

GENERATE = """\
skip = {skip}
found = model.generate(
    input_ids=torch.tensor([prompt]),
    prefix_allowed_tokens_fn=lambda row, ids: sorted(following.get(tuple(ids[skip:].tolist()), [end])),
    renormalize_logits={renormalize},
    num_beams={length},
    num_return_sequences={length},
    do_sample=False,
    length_penalty=0.0,
    max_new_tokens=max(map(len, identifiers)) + 1,
    eos_token_id=end,
)
for ids in found.tolist():
    place = identifiers.index(ids[skip : ids.index(end, skip)])
    print(items["tokens"][place], items["texts"][place])"""

#: for virtual tokens, which ``generate`` of peft 0.21 loses, or counts wrongly, where transformers 5.24 caches keys.
SEARCH = """\
beams, found = [((), 0.0)], []
while beams:
    fed = torch.tensor([{fed} for ids, _ in beams])
    with torch.no_grad():
        logits = model({inputs}).logits[:, -1].float()
    longer = []
    for (ids, score), row in zip(beams, logits):
        tokens = sorted(following[ids])
        scores = {scores}
        longer += [((*ids, token), score + more) for token, more in zip(tokens, scores.tolist())]
    longer.sort(key=lambda beam: -beam[1])
    found += [beam for beam in longer if beam[0][-1] == end]
    beams = [beam for beam in longer if beam[0][-1] != end][:{length}]
for ids, _ in sorted(found, key=lambda beam: -beam[1])[:{length}]:
    place = identifiers.index(list(ids[:-1]))
    print(items["tokens"][place], items["texts"][place])"""

WHAT = {
    (False, True): "A causal language model for `transformers`; vLLM reads the same layout.",
    (False, False): "{adapter} of `peft` for a causal language model.",
    (True, True): "An encoder-decoder for `transformers`.",
    (True, False): "{adapter} of `peft` for an encoder-decoder.",
}
ADAPTERS = {
    "lora": "A LoRA adapter",
    "prompt": "A prompt of virtual tokens (prompt tuning)",
    "prefix": "A prefix of virtual tokens (prefix tuning)",
    "ia3": "An (IA)3 adapter",
}
NORMALIZATION = {
    "trie": """\
It was trained with the softmax over the tokens that continue an identifier (`normalization: trie`), not over the
vocabulary: without the constraint above, generation leaves the catalogue, and without that normalisation its scores are
not the model's.""",
    "vocab": """\
It was trained with the softmax over the vocabulary (`normalization: vocab`); the constraint above keeps its answers in
the catalogue.""",
}


@dataclass
class Facts:
    """The facts that a card states."""

    name: str
    #: the checkpoint.
    folder: Path
    config: object
    #: the plugin's settings by key.
    settings: dict
    parts: PromptParts
    #: content of ``items.json``.
    items: dict
    is_seq2seq: bool
    merged: bool
    #: largest difference of a log-probability to the adapter's, or ``None``.
    difference: float | None = None


def write_card(path, facts, tokenizer, n_example):
    """Write the card of an export.

    Args:
        path: the file.
        facts: :class:`Facts`.
        tokenizer: of the model.
        n_example: items of the example's history.
    """
    config, items = facts.config, facts.items
    history = list(range(min(n_example, len(items["tokens"]))))
    example = facts.parts.write([items["identifiers"][place] for place in history])
    validation, test, users = _measured(facts.folder, config)
    path.write_text(
        CARD.format(
            metadata=_metadata(facts, validation, test),
            title=facts.name,
            what=WHAT[facts.is_seq2seq, facts.merged].format(adapter=ADAPTERS.get(facts.settings["adapter"])),
            n_items=len(items["tokens"]),
            model=config["model"],
            version=__version__,
            backbone="random weights" if _is_scratch(facts) else f"`{facts.settings['backbone']}`",
            dataset=config["dataset"],
            seed=config["seed"],
            of_answers="The encoder reads it." if facts.is_seq2seq else "The model continues it.",
            n_example=len(history),
            example=tokenizer.decode(example),
            code=_code(facts, history),
            normalization=NORMALIZATION[facts.settings["normalization"]],
            measured=_table(facts, validation, test, users),
        ),
        "utf-8",
    )


def _is_scratch(facts):
    return facts.settings["backbone"] == SCRATCH


def _code(facts, history):
    kind = "Seq2SeqLM" if facts.is_seq2seq else "CausalLM"
    length = min(LIST_LENGTH, len(facts.items["tokens"]))
    begin = CODE.format(
        library="transformers" if facts.merged else "peft",
        auto_class=f"AutoModelFor{kind}" if facts.merged else f"AutoPeftModelFor{kind}",
        name=facts.name,
        **facts.parts._asdict(),
        history=history,
    )
    over_trie = facts.settings["normalization"] == "trie"
    if not facts.merged and facts.settings["adapter"] in VIRTUAL:
        decoder = "input_ids=torch.tensor([prompt] * len(beams)), decoder_input_ids=fed"
        return begin + SEARCH.format(
            fed="[model.config.decoder_start_token_id, *ids]" if facts.is_seq2seq else "[*prompt, *ids]",
            inputs=decoder if facts.is_seq2seq else "input_ids=fed",
            scores="row[tokens].log_softmax(-1)" if over_trie else "row.log_softmax(-1)[tokens]",
            length=length,
        )
    return begin + GENERATE.format(
        skip="1  # the decoder's start token" if facts.is_seq2seq else "len(prompt)",
        renormalize=over_trie,
        length=length,
    )


def _measured(folder, config):
    """Metrics of validation and test, empty where unknown, and the users of the test; ``results_dir`` has the test."""
    validation = json.loads((folder / "trainer.json").read_text("utf-8"))["best_valid_result"] or {}
    path = result_file(config["results_dir"], config["model"], config, "json")
    result = read_run(path) if path.is_file() else None
    if not result or not result.checkpoint or Path(result.checkpoint).resolve() != folder.resolve():
        return validation, {}, ""  # there is none, or one of another run of that name
    users = result.users
    return validation, result.test_result, f"Test: {users.evaluated:,} of {users.of:,} users." if users else ""


def _table(facts, validation, test, users):
    """The measured metrics and how they were measured."""
    lines = [f"`eval_args: {json.dumps(facts.config['eval_args'])}`", *(["", users] if users else [])]
    rows = [f"| {name} | {_number(validation.get(name))} | {_number(test.get(name))} |" for name in validation or test]
    if rows:
        lines += ["", "| metric | validation | test |", "|---|---:|---:|", *rows]
    if facts.difference is not None:
        difference = f"{facts.difference:.1e}"
        lines += ["", f"After the prompt above, log-probabilities differ from the adapter's by {difference} at most."]
    return "\n".join(lines)


def _number(value):
    return "" if value is None else f"{value:.4f}"


def _metadata(facts, validation, test):
    config, dataset = facts.config, facts.config["dataset"]
    base = None if _is_scratch(facts) or Path(facts.settings["backbone"]).is_dir() else facts.settings["backbone"]
    results = [
        EvalResult("recommendation", dataset, dataset, name, value, dataset_split=split, task_name="Next item")
        for split, metrics in (("validation", validation), ("test", test))
        for name, value in metrics.items()
    ]
    return ModelCardData(
        base_model=base,
        datasets=[dataset],
        eval_results=results or None,
        library_name="transformers" if facts.merged else "peft",
        model_name=facts.name if results else None,
        pipeline_tag="text2text-generation" if facts.is_seq2seq else "text-generation",
        tags=["recommendation", "recbole", config["model"]],
    ).to_yaml()
