"""What a line means when a launcher says it again: the run goes on where it has a checkpoint, and begins where not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from pylm.config.given import Given
from pylm.errors import UsageError
from pylm.training.launch.restarted import agreed, counted, restarted
from pylm.training.request import Request
from pylm.training.world import World

TORCHRUN, SLURM = "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"
GIVEN = Given("train", settings=(("train.max_time", "+1h", "--max-time"), ("train.seed", "3", "--seed")))


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say whether there is a sound checkpoint."""

    def there(sound: Path | None) -> None:
        monkeypatch.setattr("pylm.checkpoint.newest_sound", lambda run: sound)

    return there


def test_the_first_start_is_what_was_typed() -> None:
    request = Request(GIVEN, out=None, init_from="x")
    assert restarted(request, "") is request


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, ""), ({TORCHRUN: "0", SLURM: "0"}, ""), ({TORCHRUN: "2", SLURM: "1"}, TORCHRUN), ({SLURM: "1"}, SLURM)],
)
def test_what_counts_an_earlier_start_is_in_the_environment(environ: dict[str, str], expected: str) -> None:
    assert counted(environ) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([{TORCHRUN: "0"}] * 3, ""),
        ([{TORCHRUN: "0"}, {TORCHRUN: "0"}, {TORCHRUN: "1"}], TORCHRUN),  # one died on another machine
        ([{TORCHRUN: "1"}, {}, {SLURM: "1"}], TORCHRUN),
        ([{SLURM: "1"}, {}, {}], SLURM),
    ],
)
def test_all_take_a_start_for_the_same(counts: list[dict[str, str]], expected: str) -> None:
    store, size = HashStore(), len(counts)
    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(lambda rank: agreed(store, World(rank, size, rank, size), counts[rank]), range(size)))
    assert found == [expected] * size


@pytest.mark.parametrize("counted_by", [TORCHRUN, SLURM])
@pytest.mark.parametrize("asked", [{"init_from": "other"}, {"resume": "runs/other/step_7"}, {"resume": "auto"}, {}])
def test_a_run_with_a_checkpoint_goes_on(run_of: Any, counted_by: str, asked: dict[str, str]) -> None:
    run_of(Path("runs/x/checkpoints/step_9"))
    again = restarted(Request(GIVEN, out=Path("runs/x"), **asked), counted_by)  # type: ignore[arg-type]
    assert (again.resume, again.init_from, again.out) == ("auto", None, Path("runs/x"))
    again.check()
    # an hour more was given once: the checkpoint's configuration has it
    assert again.given.settings == (("train.seed", "3", "--seed"),)


def test_a_run_without_a_checkpoint_begins_as_it_was_typed(run_of: Any) -> None:
    run_of(None)
    request = Request(GIVEN, out=Path("runs/x"), init_from="other")
    assert restarted(request, TORCHRUN) is request


def test_a_run_that_nobody_named_cannot_be_found_again() -> None:
    with pytest.raises(UsageError, match="needs a folder of its own") as error:
        restarted(Request(GIVEN), TORCHRUN)
    assert 'out="runs/x"' in str(error.value.hint)
    request = Request(GIVEN)
    assert restarted(request, SLURM) is request  # by hand, in a job of one's own
