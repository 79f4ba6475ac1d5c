"""Simulated conversations: how soon is a hidden item found, by asking about attributes or by showing lists?

    python -m benchmarks.conversation --checkpoint FOLDER [--users 200] [--turns 10] [--topk 10]

The hidden item is the test item of a user, the history what comes before it; items of the history are never shown. In
each turn the system asks one yes/no question or shows the next K items; the user answers from the item's columns: of a
column of texts whether it has a value, of a column of numbers whether it is at least one of those that occur. Policies,
on the same users and probabilities of the model:

* never: shows the next K items in every turn;
* random: asks a random question among those that split what is left, where asking is worth it with that question;
* information: asks the question of the highest expected information, where asking is worth it.

Asking is worth it where the lists that remain then cover more, see
``recbole_genrec.evaluation.simulated_conversation.questions_worth_asking``. success@t is the share of users whose item
was shown by turn t; recall@K in turn t counts users whose item is among the K likeliest then, or was shown before; the
mean number of turns counts a failure as one more than there are. "random" is the mean over ``--draws`` seeds. The
interval is the percentile bootstrap over users (95 %) of the success in the last turn.
"""

from pathlib import Path

import numpy as np
import torch
from recbole.data import data_preparation

from benchmarks.common import Results, parser, report
from recbole_genrec import GenRecError, GenRecommender, ItemId
from recbole_genrec.catalogue.attributes import Attributes, title_column
from recbole_genrec.config.registry import plugin_dataset
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.evaluation.confidence import bootstrap_intervals
from recbole_genrec.evaluation.simulated_conversation import POLICIES, Simulation, measure, simulate
from recbole_genrec.runs.reopen import read_config

#: turns of which the table shows success and recall.
SHOWN = (1, 2, 3, 4, 5, 7, 10)


def histories_of(folder, users, seed):
    """Histories and targets of the test, as the run of a checkpoint split it, of users drawn at random.

    Returns:
        Lists of raw item ids and the raw id that follows each, of users whose target is not in their history.
    """
    config = read_config(folder)
    dataset = plugin_dataset(config["model"])(config)
    _, _, test = data_preparation(config, dataset)
    tokens, found = dataset.field2id_token[dataset.iid_field], []
    for interaction, *_ in test:
        rows = (interaction[name].tolist() for name in (f"{dataset.iid_field}_list", "item_length", dataset.iid_field))
        for items, length, target in zip(*rows):
            if target not in items[:length]:
                found.append(([tokens[item] for item in items[:length]], tokens[target]))
    chosen = np.random.default_rng(seed).permutation(len(found))[:users]
    return [found[place] for place in sorted(chosen.tolist())]


def scores_of(recommender, histories):
    """Log-probabilities of all items after each history, -inf for its own ``[U, I]``."""
    numbers, rows = recommender.reader.number, []
    for start in range(0, len(histories), recommender.batch_size):
        part = histories[start : start + recommender.batch_size]
        batch = recommender._read([[ItemId(item) for item in history] for history in part])
        tree = recommender.ranker.tree(batch.packer, batch.items, batch.first, batch.stop, batch.vectors, batch.context)
        with torch.no_grad():
            scores = score_catalogue(tree, recommender.ranker.engine.normalization)[:, 1:].double().cpu().numpy()
        for row, history in zip(scores, part):
            row[[numbers[item] - 1 for item in history]] = -np.inf
            rows.append(row)
    return np.array(rows)


def attributes_of(recommender, columns):
    """The attributes that may be asked for: those of some columns, by default all but id and title."""
    catalogue, ranker = recommender.ranker.catalogue, recommender.ranker
    left_out = title_column(
        catalogue.columns, ranker.arguments["prompt"].item_text, recommender.settings["ITEM_ID_FIELD"]
    )
    attributes = Attributes(catalogue.columns, left_out)
    if unknown := set(columns) - attributes.columns.keys():
        raise GenRecError(f"--columns: no {', '.join(unknown)}; there are {', '.join(attributes.columns)}.")
    if columns:
        attributes = Attributes({name: attributes.columns[name] for name in columns})
    return attributes


def row_of(policy, scores, answers, targets, options):
    """A row of the table."""
    simulation, draws = Simulation(options.turns, options.topk, policy), options.draws if policy == "random" else 1
    outcomes = [
        simulate(row, answers, target, simulation, np.random.default_rng([options.seed, draw, user]))
        for draw in range(draws)
        for user, (row, target) in enumerate(zip(scores, targets))
    ]
    found = measure(outcomes, options.turns)
    succeeded = np.array([outcome.success is not None for outcome in outcomes], float)
    users = np.tile(np.arange(len(targets)), draws)
    low, high = bootstrap_intervals({"success": succeeded}, users, options.seed)["success"]
    row = {"policy": policy, "users": len(targets), "mean_turns": found["turns"], "questions": found["questions"]}
    row |= {f"success@{turn}": value for turn, value in enumerate(found["success"], 1)}
    row |= {f"recall_in_turn_{turn}": value for turn, value in enumerate(found["recall"], 1)}
    return row | {"interval": f"{low:.3f} to {high:.3f}", "examples": [_example(outcome) for outcome in outcomes[:5]]}


def _example(outcome):
    return {"success": outcome.success, "asked": [[question, answer] for question, answer in outcome.asked]}


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("conversation", __doc__)
    options.add_argument("--checkpoint", type=Path, required=True, help="of GenRec; its data must be where it was")
    options.add_argument("--users", type=int, default=200)
    options.add_argument("--turns", type=int, default=10)
    options.add_argument("--topk", type=int, default=10, help="length of a list")
    options.add_argument("--columns", nargs="+", default=[], help="attributes to ask for; by default all")
    options.add_argument("--draws", type=int, default=5, help="seeds of the random questions")
    options = options.parse_args(arguments)
    if options.quick:
        options.users, options.draws = min(options.users, 5), 2
    recommender = GenRecommender.from_checkpoint(options.checkpoint)
    examples = histories_of(options.checkpoint, options.users, options.seed)
    scores = scores_of(recommender, [history for history, _ in examples])
    targets = [recommender.reader.number[target] - 1 for _, target in examples]
    texts, answers = attributes_of(recommender, options.columns).questions(recommender.reader.item_tokens)
    rows = [row_of(policy, scores, answers, targets, options) for policy in POLICIES]
    turns = [turn for turn in SHOWN if turn <= options.turns]
    success = {"policy": "", "users": ",", "mean_turns": ".2f", "questions": ".2f"}
    success |= {f"success@{turn}": ".3f" for turn in turns} | {"interval": ""}
    recall = {"policy": ""} | {f"recall_in_turn_{turn}": ".3f" for turn in turns}
    results = {"rows": Results("Success by turn", success, rows)}
    results["recall"] = Results(f"recall@{options.topk} by turn", recall, rows)
    report(options, results, questions=texts, items=len(answers[0]) if len(answers) else 0)


if __name__ == "__main__":
    main()
