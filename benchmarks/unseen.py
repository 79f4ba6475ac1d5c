"""What seen items cost: the tests of finished runs, with the items that a user has had and without them.

    python -m benchmarks.unseen results/GenRec-ml-1m-2020.json results/SASRecAll-ml-1m-2020.json [--data_path FOLDER]

Loads the checkpoint that each run's JSON names, tests it as the run did, and again with ``repeatable: False``, and
prints both as one JSON a run. A run's relative paths hold from the folder in which it was made.
"""

import argparse
import json
from pathlib import Path

from recbole.utils import init_seed

from recbole_genrec.config import GenRecConfig, known_keys
from recbole_genrec.process import tune_malloc
from recbole_genrec.quick_start import _build_model, _SplitData
from recbole_genrec.utils import get_model, get_trainer


def tested(run, changes):
    """Test metrics of a run's checkpoint under changed settings."""
    stored = {"show_progress": False, **run["config"], **changes}
    # the configuration of a run holds what RecBole made of it, too
    made = {"model", "dataset", "device", *(f"{phase}_neg_sample_args" for phase in ("train", "valid", "test"))}
    known = known_keys([get_model(run["model"])], run["dataset"]) - made
    settings = {key: value for key, value in stored.items() if key in known}
    config = GenRecConfig(run["model"], run["dataset"], config_dict=settings)
    data = _SplitData([config])
    init_seed(config["seed"], config["reproducibility"])
    model = _build_model(config, data)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.tensorboard.close()
    test = data.evaluation_loader(config, "test")
    return dict(trainer.evaluate(test, load_best_model=True, model_file=run["checkpoint"], show_progress=False))


def main():
    """Run the benchmark; see the module's header."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data_path")
    options = parser.parse_args()
    tune_malloc()
    for path in options.runs:
        run = json.loads(path.read_text("utf-8"))
        folder = Path(run["config"]["data_path"])
        # RecBole has added the dataset's name to the folder that it was given
        changes = {"data_path": options.data_path or str(folder.parent if folder.name == run["dataset"] else folder)}
        result = {"run": path.name, "seen_kept": tested(run, changes)}
        result["seen_left_out"] = tested(run, changes | {"repeatable": False})
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
