"""The engine that hands tasks to Dask: its own workers, and clusters that are there."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # workers import their functions by name
import engine_tasks as tasks
from bycatch.engines import Dask, LostTask, executor_of
from bycatch.errors import BycatchError, SettingsError
from bycatch.kernels import threads
from bycatch.system import memory
from engine_watch import by_index, gone, is_there, too_long

logger = logging.getLogger("bycatch")
PATIENCE_S = 120.0

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def in_time():
    """Let no test hang."""
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(PATIENCE_S))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def two():
    """Two workers of our own, which tests may kill."""
    engine = Dask(n_workers=2, prepare=tasks.prepare)
    yield engine
    engine.close()
    assert workers_of(os.getpid()) == []


@pytest.fixture(scope="module")
def cluster():
    """A cluster of the user."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.CRITICAL,
    ) as made:
        yield made


def workers_of(parent):
    """Return the worker processes that a process has begun."""
    results = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, number = (path / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            is_worker = b"spawn_main" in (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(number) == parent and state != "Z" and is_worker:
            results.append(int(path.name))
    return results


# Workers of our own


def test_each_item_has_its_result(two):
    assert by_index(two.work(tasks.square, range(9))) == {n: n * n for n in range(9)}
    assert list(two.work(tasks.square, [])) == []
    assert by_index(two.work(tasks.prepared, [0] * 4)) == dict.fromkeys(range(4), True)
    assert os.getpid() not in by_index(two.work(tasks.pid, [0, 0])).values()


def test_results_come_as_they_are_finished(two):
    results = two.work(tasks.sleep_after, [(1.5, "slow"), (0.0, "a"), (0.0, "b")])
    assert [index for index, _ in results] == [1, 2, 0]


def test_items_are_not_taken_for_tasks_of_dask(two):
    item = (abs, -1)
    assert list(two.work(tasks.length, [item])) == [(0, 2)]


def test_items_and_results_may_be_large(two):
    assert list(two.work(tasks.length, [bytes(3_000_000)])) == [(0, 3_000_000)]
    assert [len(block) for _, block in two.work(tasks.block, [3_000_000] * 2)] == [3_000_000] * 2


@pytest.mark.skipif(threads.n_cores() < 2, reason="needs two cores")
def test_kernels_have_the_cores_of_their_task(two):
    assert list(two.work(tasks.threads_of_kernels, [0])) == [(0, 2)]
    assert by_index(two.work(tasks.threads_of_kernels, [0, 0])) == {0: 1, 1: 1}


def test_workers_leave_signals_of_the_terminal_to_the_parent(two):
    ((_, result),) = two.work(tasks.dispositions, [0])
    assert result[:2] == [signal.SIG_IGN, signal.SIG_IGN]


def test_what_a_task_logs_is_here_once_and_before_its_result(two, logged):
    for index, _ in two.work(tasks.log, [str(n) for n in range(20)]):
        assert logged.lines.count(str(index)) == 1


def test_records_keep_what_they_carry(two, logged):
    list(two.work(tasks.log_extras, ["a"]))
    (record,) = logged.records
    assert record.at_work == ("a", "detect")
    assert record.sizes_mb == {"a": 1.5}
    assert record.steps == ("sort",)
    assert (record.getMessage(), record.levelno) == ("a begins", logging.INFO)


def test_many_lines_of_many_threads_arrive(two, logged):
    list(two.work(tasks.log_much, [100] * 2))
    assert len(logged.lines) == 2 * 4 * 100


def test_workers_follow_the_level_of_the_logger(two, logged):
    list(two.work(tasks.log_levels, [0]))
    logger.setLevel(logging.INFO)
    list(two.work(tasks.log_levels, [0]))
    assert logged.lines == ["debug", "info", "info"]


def test_what_a_function_raises_arrives_with_its_origin(two):
    with pytest.raises(ValueError, match="invalid literal") as excinfo:
        list(two.work(int, ["1", "x"]))
    (note,) = excinfo.value.__notes__
    assert note.startswith("raised in a worker process:\nTraceback")
    with pytest.raises(RuntimeError, match="Odd: one and two"):
        list(two.work(tasks.raise_odd, [0]))


def test_what_can_not_be_pickled_is_an_error(two):
    with pytest.raises(TypeError, match="cannot pickle"):
        list(two.work(tasks.square, [threading.Lock()]))
    with pytest.raises(TypeError, match="cannot pickle"):
        list(two.work(tasks.unpicklable, [1]))
    assert list(two.work(tasks.square, [3])) == [(0, 9)]


def test_only_the_task_that_kills_its_process_is_lost(two, capfd):
    items = [1, 2, 13, 3, -1, 4, 13, 5]
    result = by_index(two.work(tasks.kill, items))
    for index in (2, 4, 6):
        loss = result.pop(index)
        assert loss.reason.startswith("its worker process at tcp://")
        assert loss.reason.endswith("is gone")
        assert loss.may_be_memory is (memory.n_killed() is None)
    assert result == {0: 1, 1: 2, 3: 3, 5: 4, 7: 5}
    assert capfd.readouterr() == ("", "")  # nothing of what Dask logs


def test_a_kill_for_lack_of_memory_shows_in_the_count_of_the_kernel(two, monkeypatch):
    counts = iter(range(100))
    monkeypatch.setattr(memory, "n_killed", lambda: next(counts))
    ((_, loss),) = two.work(tasks.kill, [13])
    assert loss.may_be_memory


def test_a_lost_task_may_be_tried_again(two, tmp_path):
    items = [(tmp_path / "died", number) for number in (1, 13)]
    result = by_index(two.work(tasks.kill_once, items))
    assert result[0] == 1
    assert isinstance(result[1], LostTask)
    assert list(two.work(tasks.kill_once, items[1:])) == [(0, 13)]


def test_a_process_that_dies_idle_is_replaced(two):
    pids = {result for _, result in two.work(tasks.pid, [0, 0])}
    for number in pids:
        os.kill(number, signal.SIGKILL)
    assert gone(pids, 15)
    time.sleep(0.2)
    assert by_index(two.work(tasks.square, [1, 2, 3])) == {0: 1, 1: 4, 2: 9}


def test_random_kills_lose_tasks_but_end_the_work(logged):
    # Workers of its own, and no kill so late that Dask looks for those that died first (15 s).
    engine = Dask(n_workers=2, prepare=tasks.prepare)
    assert list(engine.work(tasks.square, [3])) == [(0, 9)]
    stop = threading.Event()
    victims = []

    def kill_some():
        end_s = time.monotonic() + 6
        while not stop.wait(0.5) and time.monotonic() < end_s:
            # One that has begun, of which its records tell.
            pids = {record.process for record in list(logged.records)}
            if alive := [number for number in pids if is_there(number)]:
                victims.append(alive[0])
                os.kill(alive[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        outcome = by_index(engine.work(tasks.log_and_sleep, [0.1] * 40))
    finally:
        stop.set()
        killer.join()
    engine.close()
    assert sorted(outcome) == list(range(40))
    assert all(result == 0.1 or result.reason.endswith("is gone") for result in outcome.values())
    assert 0 < sum(isinstance(result, LostTask) for result in outcome.values()) <= len(victims)


def test_workers_that_die_while_they_begin_are_replaced():
    engine = Dask(n_workers=1)
    others = set(workers_of(os.getpid()))
    ((_, first),) = engine.work(tasks.pid, [0])
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not (pids := set(workers_of(os.getpid())) - others - {first}):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pids.pop(), signal.SIGKILL)
    ((_, result),) = engine.work(tasks.square, [3])
    assert result == 9
    engine.close()


def test_who_stops_reading_stops_the_work():
    others = set(workers_of(os.getpid()))
    engine = Dask(n_workers=2)
    results = engine.work(tasks.sleep_after, [(0.0, 1), (100.0, 2), (100.0, 3)])
    assert next(results) == (0, 1)
    pids = set(workers_of(os.getpid())) - others
    assert len(pids) == 2
    began_s = time.monotonic()
    results.close()
    assert time.monotonic() - began_s < 3
    assert gone(pids, 1)
    assert list(engine.work(tasks.square, [3])) == [(0, 9)]
    engine.close()
    engine.close()


def test_an_error_of_the_preparation_arrives_and_a_crash_ends():
    engine = Dask(n_workers=1, prepare=tasks.prepare_badly)
    with pytest.raises(ValueError, match="no kernels"):
        list(engine.work(tasks.square, [1, 2]))
    engine.close()
    engine = Dask(n_workers=1, prepare=tasks.prepare_deadly)
    result = by_index(engine.work(tasks.square, [1, 2]))
    assert [type(loss) for loss in result.values()] == [LostTask, LostTask]
    engine.close()


SCRIPT = """
    import signal, sys
    sys.path[:0] = [{tests!r}]
    import engine_tasks
    from bycatch.engines import Dask
    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        engine = Dask(n_workers=2)
        try:
            print("here", flush=True)
            list(engine.work(engine_tasks.touch_and_sleep, [({folder!r}, {seconds})] * 200))
        except KeyboardInterrupt:
            pass
        finally:
            engine.close()
"""


@pytest.fixture
def script(tmp_path):
    """Return a function that begins a program which works on two workers of Dask."""
    starts = []

    def begin(seconds):
        path = tmp_path / "script.py"
        tests = str(Path(__file__).parent)
        code = SCRIPT.format(tests=tests, folder=str(tmp_path), seconds=seconds)
        path.write_text(textwrap.dedent(code))
        pipe = subprocess.PIPE
        starts.append(
            subprocess.Popen(
                [sys.executable, path], stdout=pipe, stderr=pipe, text=True, start_new_session=True
            )
        )
        assert starts[0].stdout.readline() == "here\n"
        return starts[0]

    yield begin
    for process in starts:
        process.kill()
        process.communicate()


def test_no_worker_outlives_the_process_that_began_it(tmp_path, script):
    parent = script(100)
    deadline = time.monotonic() + 30
    while len(pids := list(tmp_path.glob("[0-9]*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    parent.kill()
    assert gone((int(path.name) for path in pids), 15)


@pytest.mark.parametrize("wait_s", [0.3, 0.8, 1.5, 3.0])
def test_ctrl_c_ends_all_processes_without_a_complaint(script, wait_s):
    parent = script(0.01 if wait_s == 3.0 else 100)
    time.sleep(wait_s)
    pids = workers_of(parent.pid)
    os.killpg(parent.pid, signal.SIGINT)
    _, err = parent.communicate(timeout=30)
    assert (parent.returncode, err) == (0, "")
    assert gone(pids, 1)


# Clusters that are there


@pytest.mark.parametrize("kind", ["cluster", "address", "client"])
def test_a_cluster_is_used_and_left_as_it_is(cluster, kind, logged):
    client = distributed.Client(cluster, set_as_default=False)
    before = set(client.nthreads())
    arguments = {"cluster": cluster, "address": cluster.scheduler_address, "client": client}[kind]
    engine = executor_of(arguments, 2, tasks.prepare)
    assert isinstance(engine, Dask)
    assert by_index(engine.work(tasks.square, range(9))) == {n: n * n for n in range(9)}
    assert by_index(engine.work(tasks.prepared, [0] * 4)) == dict.fromkeys(range(4), True)
    list(engine.work(tasks.log, ["a line"]))
    assert logged.lines == ["a line"]
    engine.close()
    assert set(client.nthreads()) == before
    assert client.submit(abs, -1).result() == 1
    client.close()


def test_on_another_cluster_only_the_task_that_kills_is_lost(cluster):
    engine = Dask(cluster)
    result = by_index(engine.work(tasks.kill, [1, 13, 2, 3, 13, 4]))
    for index in (1, 4):
        loss = result.pop(index)
        assert loss.reason.startswith("its worker process at tcp://127.0.0.1:")
        assert loss.may_be_memory  # for all we know
    assert result == {0: 1, 2: 2, 3: 3, 5: 4}
    engine.close()


def test_tasks_share_the_cores_of_a_machine(cluster):
    cluster.wait_for_workers(2)  # those that a test before this one has killed
    engine = Dask(cluster)
    result = by_index(engine.work(tasks.threads_of_kernels, [0] * 4))
    assert set(result.values()) == {max(threads.n_cores() // 2, 1)}
    engine.close()


def test_a_cluster_that_adapts_grows_by_what_waits():
    with distributed.LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.CRITICAL,
    ) as made:
        made.adapt(minimum=0, maximum=2, interval="100ms", target_duration="1s")
        engine = Dask(made)
        result = by_index(engine.work(tasks.sleep_and_pid, [0.3] * 20))
        assert len(set(result.values())) == 2
        engine.close()


def test_on_another_cluster_work_that_is_stopped_does_not_wait(cluster):
    engine = Dask(cluster)
    results = engine.work(tasks.sleep_after, [(0.0, 1)] + [(3.0, 2)] * 40)
    assert next(results) == (0, 1)
    began_s = time.monotonic()
    results.close()
    engine.close()
    assert time.monotonic() - began_s < 2


def test_workers_that_are_threads_of_this_process_log_here_once(logged):
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        engine = Dask(client, prepare=tasks.prepare)
        list(engine.work(tasks.log, ["one", "two"]))
        engine.close()
    assert sorted(logged.lines) == ["one", "two"]
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    assert threads.n_threads() == threads.n_cores()


def test_a_cluster_that_goes_away_is_an_error():
    made = distributed.LocalCluster(
        n_workers=1,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.CRITICAL,
    )
    engine = Dask(made)
    results = engine.work(tasks.sleep_after, [(0.0, 1), (100.0, 2)])
    next(results)
    made.close(timeout=5)
    with pytest.raises(BycatchError, match="the Dask cluster is gone"):
        next(results)
    engine.close()


def test_an_address_without_a_scheduler_is_refused():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(SettingsError, match=r"no Dask scheduler at tcp://127.0.0.1:1"),
    ):
        list(Dask("tcp://127.0.0.1:1").work(tasks.square, [1]))


def test_without_dask_the_way_to_get_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingsError, match=r"needs distributed - pip install 'bycatch\[dask\]'"):
        executor_of("dask", 2)


def test_engines_load_dask_only_when_it_is_asked_for():
    code = "import bycatch.engines, sys; print({'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
