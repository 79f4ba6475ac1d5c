"""Opens the recommender of whatever a path holds; see :meth:`recbole_genrec.serve.protocol.Recommender.load`."""

import json

from recbole_genrec.checkpoint.folder import is_checkpoint, read_settings
from recbole_genrec.config.registry import is_model
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.json_shape import check_shape
from recbole_genrec.serve.checkpoint_ranker import MODELS
from recbole_genrec.serve.recommender import GenRecommender
from recbole_genrec.serve.stored_path import check_path


def open_recommender(path, device=None, trust_remote_code=False, data_path=None):
    """The recommender of a trained model: GenRec's alone needs neither RecBole nor the dataset.

    Args and errors: see :meth:`~recbole_genrec.serve.protocol.Recommender.load`.
    """
    path = check_path(path)
    folder = _genrec_folder(path)
    if folder is not None:
        recommender = GenRecommender(folder, device, trust_remote_code)
    else:
        from recbole_genrec.runs.open_model import open_model
        from recbole_genrec.serve.score_recommender import ScoreRecommender

        recommender = ScoreRecommender(open_model(path, device, trust_remote_code, data_path))
    recommender.data_path = data_path
    return recommender


def _genrec_folder(path):
    """The checkpoint folder of GenRec that a path is or names, else ``None``."""
    if path.is_dir():
        settings = read_settings(path)
        if not is_model(settings["model"]):
            raise GenRecError(f"The checkpoint {str(path)!r} is of {settings['model']!r}, which is no model.")
        return path if settings["model"] in MODELS else None
    if path.suffix != ".json":
        return None
    run = _read(path)
    if run["model"] not in MODELS or run["checkpoint"] is None:
        return None
    return run["checkpoint"] if is_checkpoint(run["checkpoint"]) else None


def _read(path):
    """Model and checkpoint that the JSON of a run names; all else of it is read where the model needs it."""
    try:
        run = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise GenRecError(f"{path} is not JSON: {error}.") from error
    check_shape(run, {"model": str, "checkpoint?": (str, None)}, str(path))
    return {"checkpoint": None, **run}
