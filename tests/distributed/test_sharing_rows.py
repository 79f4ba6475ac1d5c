"""Rows of ``recommend`` shared by processes: the file is that of one process, also after a stop."""

import json

import pytest

from recbole_genrec import GenRecError, GenRecommender
from recbole_genrec.serve.many.asked_rows import Source
from recbole_genrec.serve.many.manner import Manner, Output
from recbole_genrec.serve.many.recommend_many import recommend_many
from tests.serve.conftest import pretrained, train, trained  # noqa: F401  fixtures


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_file_is_that_of_one_process(trained, in_processes, tmp_path, format, processes):  # noqa: F811
    from recbole_genrec.distributed.world import joined

    recommender = GenRecommender.from_checkpoint(trained["trie"][2])
    recommender.batch_size = 2
    asked = tmp_path / "asked.jsonl"
    rows = [{"user": f"u{number % 8}", "k": 1 + number % 3} for number in range(11)]

    def run(path, resume=False):
        with joined():
            output = Output(str(path), format, resume)
            return recommend_many(recommender, Source(input=str(asked)), Manner(), output)

    asked.write_text("\n".join(map(json.dumps, rows)))
    alone, shared = tmp_path / f"alone.{format}", tmp_path / f"shared.{format}"
    run(alone)
    assert in_processes(processes, lambda: run(shared)) == [11] * processes
    assert shared.read_bytes() == alone.read_bytes()
    assert not list(tmp_path.glob(".shared*"))

    def stopped():
        with pytest.raises(GenRecError, match="line 11: "):
            with joined():
                recommend_many(recommender, Source(input=str(asked)), Manner(), Output(str(shared), format))

    # the process of the last block meets a bad line, and the others have written theirs
    asked.write_text("\n".join(map(json.dumps, rows[:10])) + "\noops")
    shared.unlink()
    last = 5 % processes
    from recbole_genrec.serve.many import recommend_many as module

    class Alone:
        """Stops where processes would wait for each other: one of them is gone."""

        def __init__(self, world):
            self.rank, self.size, self.is_first = world.rank, world.size, world.is_first

        def wait(self):
            raise InterruptedError

    def half():
        from recbole_genrec.distributed.world import current

        module.current = lambda: Alone(current())
        if current().rank == last:
            stopped()
        else:
            with pytest.raises(InterruptedError):
                run(shared)

    in_processes(processes, half, "half")
    assert not shared.exists() and len(list(tmp_path.glob(".shared*"))) == 2 * processes
    asked.write_text("\n".join(map(json.dumps, rows)))
    in_processes(processes, lambda: run(shared, resume=True), "again")
    assert shared.read_bytes() == alone.read_bytes()
