"""Results as files: what is written is read, and earlier runs are kept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper.options import seconds
from paper.results import Results, merged, read
from paper.tables import markdown, over_seeds
from resserve.errors import ResServeError


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Tables come back from CSV with their types, facts from JSON."""
    results = Results(
        experiment="costs",
        facts={"data": {"train": 24}},
        tables={"rows": [{"name": "a, b", "count": 3, "error": 0.25, "left": ""}], "none": []},
    )

    results.write(tmp_path)

    assert read(tmp_path, "costs") == results
    assert (tmp_path / "costs-rows.csv").read_text() == 'name,count,error,left\n"a, b",3,0.25,\n'


def test_an_experiment_that_was_not_run_has_no_results(tmp_path: Path) -> None:
    """Without files there is nothing, not an empty result."""
    assert read(tmp_path, "costs") is None


def test_damaged_results_are_named(tmp_path: Path) -> None:
    """A file that is not ours gives one sentence that names it."""
    (tmp_path / "costs.json").write_text("[]")

    with pytest.raises(ResServeError, match=r"costs\.json"):
        read(tmp_path, "costs")


def test_new_rows_replace_those_of_their_run_only() -> None:
    """A run that went on replaces its own rows; others stay."""
    old = [{"run": "a", "epoch": 1}, {"run": "b", "epoch": 1}]
    new = [{"run": "b", "epoch": 1}, {"run": "b", "epoch": 2}]

    assert merged(old, new, "run") == [old[0], *new]


@given(hours=st.integers(0, 99), minutes=st.integers(0, 99), rest=st.integers(0, 99))
def test_durations_add_up(hours: int, minutes: int, rest: int) -> None:
    """Hours, minutes and seconds are added, whichever are given."""
    assert seconds(f"{hours}h{minutes}m{rest}s") == 3600 * hours + 60 * minutes + rest


@pytest.mark.parametrize("text", ["", "2", "h", "2h x", "-2h", "2d"])
def test_other_durations_are_refused(text: str) -> None:
    """A duration without a unit, or with anything else in it, is refused with an example."""
    with pytest.raises(ResServeError, match="1h30m"):
        seconds(text)


def test_several_seeds_give_mean_and_range() -> None:
    """One seed has no range; several show theirs."""
    assert over_seeds([0.1]) == "10.0% (1 seed)"
    assert over_seeds([0.1, 0.2]) == "15.0% (10.0% to 20.0%, 2 seeds)"


def test_numbers_stand_to_the_right() -> None:
    """A column of numbers is set to the right, a column of words to the left."""
    assert markdown(["name", "n"], [["a", 1], ["b", 2]]).splitlines()[1] == "| --- | --: |"
