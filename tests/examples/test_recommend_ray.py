"""The recipe for Ray Data: a worker's answers are those of the recommender; in earnest where Ray is installed."""

import json
import os

import pytest

from recbole_genrec import GenRecommender
from tests.serve.conftest import pretrained, train, trained  # noqa: F401  fixtures

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")


@pytest.mark.filterwarnings("ignore")
def test_workers_of_ray_answer_as_one_recommender(trained, tmp_path, monkeypatch):  # noqa: F811
    from examples import recommend_ray  # no module where there is no ray

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    folder = str(trained["trie"][2])
    asked = [{"user": f"u{number % 8}", "id": number} for number in range(9)] + [{"user": "nobody", "id": 9}]
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        rows = ray.data.from_items([{"text": json.dumps(row)} for row in asked])
        found = recommend_ray.recommend(rows, folder, workers=2, batch_size=3, manner={"topk": 3}).take_all()
    finally:
        ray.shutdown()
    answers = {row["id"]: row for row in (json.loads(found_row["answer"]) for found_row in found)}
    recommender = GenRecommender.from_checkpoint(folder)
    assert sorted(answers) == list(range(10))
    assert "no interactions of the user 'nobody'" in answers[9]["error"]
    for row in asked[:9]:
        (expected,) = recommender.recommend([recommender.history_of(row["user"])], 3)
        listed = answers[row["id"]]["recommendations"]
        assert [item["item_id"] for item in listed] == [item.item_id for item in expected]
