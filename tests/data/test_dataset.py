"""The stream: every problem once an epoch, the same batch for the same step, whole datasets or none."""

import itertools
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.data.dataset import open_stream, prepare, read
from jaxreason.data.problems import Problem
from jaxreason.tasks.calculator.problems import generate

PROBLEMS = [
    *generate(10, seed=0, split="train"),
    Problem("odd", "数学\u2028\n \x00 😀", "½", "", {"a": [1, {"b": None}], "ü": 0.5}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(PROBLEMS, tmp_path_factory.mktemp("data"))


def test_order_and_content_survive(folder):
    """Would catch rows shuffled by the writer, bytes left undecoded, or a lost field."""
    stream = open_stream(folder, seed=0, batch_size=11, shuffle=False)
    assert stream.batch(0) == PROBLEMS == stream.batch(5)
    assert stream.num_problems == 11


def test_a_prepared_folder_reads_back_by_either_of_its_names(folder):
    """A user knows the one typed and the one printed."""
    assert read(folder) == PROBLEMS == read(folder.parent)


def test_what_to_read_must_be_one_dataset(tmp_path):
    with pytest.raises(ValueError, match="expected a folder made by `jaxreason data prepare`, got none"):
        read(tmp_path)
    prepare(PROBLEMS, tmp_path)
    prepare(PROBLEMS[:3], tmp_path)
    with pytest.raises(ValueError, match="expected one dataset, got 2; name one, such as"):
        read(tmp_path)


@given(st.integers(0, 2**32 - 1), st.integers(1, 11))
def test_every_epoch_covers_every_problem_once(folder, seed, batch_size):
    """Would catch a dropped last batch, or an epoch that repeats a row. Batches of 4 straddle epochs of 11."""
    stream = open_stream(folder, seed=seed, batch_size=batch_size)
    rows = list(itertools.chain.from_iterable(stream.batch(step) for step in range(11)))
    for start in range(0, 11 * batch_size, 11):
        assert {p.id for p in rows[start : start + 11]} == {p.id for p in PROBLEMS}


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_a_step_has_one_batch(folder, seed, steps):
    """Would catch hidden state: a resumed run asks for the steps in another order, in another process."""
    one, two = (open_stream(folder, seed=seed, batch_size=4) for _ in range(2))
    expected = [one.batch(step) for step in steps]
    assert [two.batch(step) for step in reversed(steps)] == expected[::-1]
    assert one == two


def test_epochs_and_seeds_are_ordered_differently(folder):
    """Would catch one order for ever. Equal by chance once in 11! = 4e7."""
    orders = [
        tuple(p.id for p in open_stream(folder, seed=seed, batch_size=11).batch(step))
        for seed in (0, 1)
        for step in (0, 1)
    ]
    assert len(set(orders)) == 4


def test_fingerprint_tells_streams_apart(folder, tmp_path):
    """Would catch a resume that silently sees other problems: other data, order, batch size or seed."""
    other = prepare([*PROBLEMS[:-1], Problem("odd", "q", "1")], tmp_path)
    marks = [
        open_stream(where, **{"seed": 0, "batch_size": 4, **change}).fingerprint
        for where, change in (
            (folder, {}),
            (folder, {"seed": 1}),
            (folder, {"batch_size": 5}),
            (folder, {"shuffle": False}),
            (other, {}),
        )
    ]
    assert len(set(marks)) == 5
    again = prepare(PROBLEMS, tmp_path)
    assert open_stream(again, seed=0, batch_size=4).fingerprint == marks[0]


def test_prepare_twice_writes_once(tmp_path, capfd):
    """Would catch a second start that rebuilds data another process is reading, or chatter on the terminal."""
    first = prepare(PROBLEMS, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert prepare(PROBLEMS, str(tmp_path)) == first
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    assert list(tmp_path.iterdir()) == [first]
    assert capfd.readouterr().out == ""


def test_damaged_folder_is_rebuilt(tmp_path):
    """Would catch half-written data that is taken for whole: the marker goes in last, so a killed copy lacks it."""
    target = prepare(PROBLEMS, tmp_path)
    (target / "content.json").unlink()
    with pytest.raises(ValueError, match="prepare it again"):
        open_stream(target, seed=0, batch_size=4)
    assert prepare(PROBLEMS, tmp_path) == target
    assert open_stream(target, seed=0, batch_size=11, shuffle=False).batch(0) == PROBLEMS
    assert list(tmp_path.iterdir()) == [target]


def _prepare_in_process(folder, barrier, answers):
    barrier.wait()
    answers.put(str(prepare(PROBLEMS, folder)))


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    """Would catch a race that fails or mixes two writers' files."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_prepare_in_process, args=(tmp_path, barrier, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    folders = {answers.get(timeout=300) for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    (target,) = folders
    assert list(tmp_path.iterdir()) == [Path(target)]
    assert open_stream(target, seed=0, batch_size=11, shuffle=False).batch(0) == PROBLEMS


def test_refusals(folder, tmp_path):
    """Would catch a batch with the same problem twice, or an index error deep inside a library."""
    with pytest.raises(ValueError, match=r"data.prompts_per_step: expected 1\.\.11, the problems there are, got 12"):
        open_stream(folder, seed=0, batch_size=12)
    with pytest.raises(ValueError, match=r"prompts_per_step"):
        open_stream(folder, seed=0, batch_size=0)
    with pytest.raises(ValueError, match=r"run.seed"):
        open_stream(folder, seed=-1, batch_size=4)
    with pytest.raises(ValueError, match="prepare it again"):
        open_stream(folder.parent, seed=0, batch_size=4)
    with pytest.raises(ValueError, match="step: expected at least 0"):
        open_stream(folder, seed=0, batch_size=4).batch(-1)
    with pytest.raises(ValueError, match="at least one problem"):
        prepare([], tmp_path)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Twelve problems with pass rates 0, 0.5 and 1, mixed."""
    some = [Problem(f"{n}", "?", "1", meta={"pass_rate": (0.5, 1, 0)[n % 3]}) for n in range(12)]
    return prepare(some, tmp_path_factory.mktemp("graded"))


@pytest.mark.parametrize(("curriculum", "expected"), [("easy_first", [1, 0.5, 0]), ("hard_first", [0, 0.5, 1])])
def test_a_curriculum_goes_through_every_epoch_by_pass_rate(graded, curriculum, expected):
    """Catches an order that is sorted in one epoch only, that drops a problem, or depends on what was read."""
    stream = open_stream(graded, seed=0, batch_size=4, curriculum=curriculum)
    batches = [stream.batch(step) for step in range(6)]
    assert [{p.meta["pass_rate"] for p in batch} for batch in batches] == [{rate} for rate in expected * 2]
    epochs = [[p.id for batch in batches[i : i + 3] for p in batch] for i in (0, 3)]
    assert [sorted(map(int, ids)) for ids in epochs] == [[*range(12)]] * 2
    assert epochs[0] != epochs[1], "equal pass rates in another order; by chance once in 24^3"
    again = open_stream(graded, seed=0, batch_size=4, curriculum=curriculum)
    assert [again.batch(step) for step in (5, 2, 0)] == [batches[5], batches[2], batches[0]]
    other = open_stream(graded, seed=1, batch_size=4, curriculum=curriculum)
    assert [other.batch(step) for step in range(3)] != batches[:3]
    marks = {one.fingerprint for one in (stream, other, open_stream(graded, seed=0, batch_size=4))}
    assert len(marks) == 3, "a resumed run would go on in another order"


@pytest.mark.parametrize(("rate", "got"), [(None, "none"), (50, "50"), ("0.5", "'0.5'"), (True, "True")])
def test_a_curriculum_over_problems_without_pass_rates_is_refused(tmp_path, rate, got):
    meta = {} if rate is None else {"pass_rate": rate}
    folder = prepare([Problem("a", "?", "1", meta={"pass_rate": 0.5}), Problem("b", "?", "1", meta=meta)], tmp_path)
    with pytest.raises(ValueError, match=rf"data.curriculum: expected meta.pass_rate .* got {got} for 'b'; `jaxreason"):
        open_stream(folder, seed=0, batch_size=1, curriculum="easy_first")
