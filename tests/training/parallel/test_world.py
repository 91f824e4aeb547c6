"""Which process this is among those that a launcher started."""

import pytest

from pylm.errors import UsageError
from pylm.training.world import World

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_a_process_is_the_one_that_torchrun_names():
    world = World.of_environment({**TORCHRUN, "MASTER_ADDR": "somewhere"})
    assert world == World(rank=3, size=4, local_rank=1, local_size=2)
    assert not world.leads and World.of_environment({**TORCHRUN, "RANK": "0"}).leads


@pytest.mark.parametrize("environ", [{}, {"LOCAL_RANK": "1"}, {"PATH": "/bin"}])
def test_without_a_launcher_a_process_is_alone(environ):
    assert World.of_environment(environ) == World(0, 1, 0, 1) == World()
    assert World().leads


@pytest.mark.parametrize("missing", TORCHRUN)
def test_half_of_what_torchrun_sets_is_refused_in_one_sentence(missing):
    given = {name: value for name, value in TORCHRUN.items() if name != missing}
    with pytest.raises(UsageError, match=rf"^the environment has .*, and no {missing}\b"):
        World.of_environment(given)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"RANK": "first"}, r"^RANK is 'first' in the environment\b"),
        ({"RANK": "-1"}, "^the environment names no process of a world: RANK -1, WORLD_SIZE 4"),
        ({"RANK": "4"}, "^the environment names no process of a world: RANK 4, WORLD_SIZE 4"),
        ({"LOCAL_RANK": "2"}, r"LOCAL_RANK 2, LOCAL_WORLD_SIZE 2\b"),
        ({"LOCAL_WORLD_SIZE": "8"}, r"LOCAL_WORLD_SIZE 8\b"),
    ],
)
def test_what_names_no_process_is_refused(wrong, match):
    with pytest.raises(UsageError, match=match):
        World.of_environment({**TORCHRUN, **wrong})
