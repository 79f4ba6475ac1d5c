"""What processes tell each other; the oracle is one process that has it all."""

import numpy as np
import pytest
import torch

from recbole_genrec.distributed.world import World, current, joined, own_gpu
from recbole_genrec.errors import GenRecError


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 6, 7, 20])
def test_shares_and_blocks_are_the_whole(size, count):
    worlds = [World(rank, size) for rank in range(size)]
    rows = np.arange(count)
    assert sorted(np.concatenate([rows[world.share(count)] for world in worlds])) == rows.tolist()
    assert np.concatenate([world.block(count) for world in worlds]).tolist() == rows.tolist()
    sizes = [len(rows[world.share(count)]) for world in worlds]
    assert max(sizes) - min(sizes) <= 1


def test_a_single_process_talks_to_nobody():
    world = World()
    assert world.total([1, 2.5]) == [1, 2.5] and world.gather("a") == ["a"] and world.from_first(lambda: 3) == 3
    assert world.map(str, [1, 2]) == ["1", "2"] and world.is_first
    weight = torch.nn.Parameter(torch.ones(2))
    world.sum_gradients([weight])
    assert weight.grad is None


def test_messages(in_processes):
    def talk():
        with joined() as world:
            told = world.total([world.rank, 0.5]), world.gather({"rank": world.rank})
            tensor = torch.full((3,), float(world.rank))
            world.spread([tensor])
            return *told, world.from_first(lambda: world.rank), world.map(lambda v: (v, world.rank), "abc"), tensor

    for total, gathered, first, mapped, tensor in in_processes(2, talk):
        assert total == [1, 1.0] and gathered == [{"rank": 0}, {"rank": 1}] and first == 0
        assert mapped == [("a", 0), ("b", 0), ("c", 1)]
        assert tensor.tolist() == [0, 0, 0]


def test_the_first_goes_before_the_others(in_processes, tmp_path):
    file = tmp_path / "made once"

    def go():
        with joined() as world, world.in_turn():
            found = file.exists()
            file.touch()
            return found

    assert in_processes(3, go) == [False, True, True]


@pytest.mark.parametrize("bucket", [1, 3, 1 << 24])
def test_gradients_are_summed(in_processes, monkeypatch, bucket):
    monkeypatch.setattr("recbole_genrec.distributed.world.BUCKET", bucket)
    shapes = [(2, 3), (4,), (), (2,), (3, 1)]

    def parameters():
        made = [
            torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64 if shape == (4,) else None)) for shape in shapes
        ]
        made[3].requires_grad_(False)
        return made

    def gradient(rank, place):
        if place in (2, 3) or (place == 4 and rank == 0):
            return None  # nobody has one, it is frozen, the first has none
        return torch.full(shapes[place], 10.0 * rank + place)

    def add():
        own = parameters()
        with joined() as world:
            for place, parameter in enumerate(own):
                value = gradient(world.rank, place)
                parameter.grad = None if value is None else value.to(parameter.dtype)
            world.sum_gradients(own)
        return [parameter.grad for parameter in own]

    for grads in in_processes(2, add):
        for place, found in enumerate(grads):
            parts = [part for rank in range(2) if (part := gradient(rank, place)) is not None]
            if parts:
                torch.testing.assert_close(found, sum(parts).to(found.dtype))
            else:
                assert found is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE 0"),
        ({"WORLD_SIZE": "2"}, "MASTER_ADDR is missing"),
    ],
)
def test_an_environment_that_is_no_world(monkeypatch, environment, message):
    for key in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(GenRecError, match=message), joined():
        pass


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for place, visible, expected in ((0, None, "0"), (1, None, "1"), (1, "4, 6", "6"), (0, "", "")):
        monkeypatch.setattr("recbole_genrec.distributed.world._gpu", None)
        monkeypatch.setenv("LOCAL_RANK", str(place))
        assert own_gpu(visible) == expected
        assert own_gpu(expected) == expected  # RecBole has written it into the environment by then
    monkeypatch.setattr("recbole_genrec.distributed.world._gpu", None)
    with pytest.raises(GenRecError, match="'gpu_id' names 1 GPUs"):
        own_gpu("3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_gpu("3") == ""


def test_the_environment_says_who_is_who(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert current() == World(0, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert current() == World(1, 4) and not current().is_first
