"""Engines: results as they come, what workers log, and workers that die at any moment."""

import logging
import multiprocessing
import os
import random
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
from bycatch.engines import LostTask, Processes, Serial, executor_of, processes, signals
from bycatch.engines.base import NO_MEMORY, cores_per_task, lost_task
from bycatch.errors import BycatchError, SettingsError, UnreadableFile
from bycatch.kernels import threads
from bycatch.system import memory
from engine_watch import by_index, gone, is_there, too_long

logger = logging.getLogger("bycatch")
PATIENCE_S = 60.0
KILLED = "its worker process was killed by signal 9 (SIGKILL)"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def two():
    """Two processes, whose work has to end in time."""
    engine = Processes(2)
    alarm = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(PATIENCE_S))
    yield engine
    signal.alarm(0)
    signal.signal(signal.SIGALRM, alarm)
    engine.close()
    assert multiprocessing.active_children() == []


def pids_of_workers():
    """Find them from another thread than the one that looks after them."""
    results = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"spawn_main" in (path / "cmdline").read_bytes():
                results.append(int(path.name))
        except OSError:
            continue
    return results


# Results


@pytest.mark.parametrize("engine", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_each_item_has_its_result(engine):
    assert by_index(engine.work(tasks.square, range(9))) == {n: n * n for n in range(9)}
    assert list(engine.work(tasks.square, [])) == []
    engine.close()
    assert list(engine.work(tasks.square, [5])) == [(0, 25)]
    engine.close()
    engine.close()


def test_serial_work_is_done_when_it_is_asked_for():
    starts = []
    results = Serial().work(starts.append, [1, 2, 3])
    assert starts == []
    next(results)
    assert starts == [1]


def test_results_come_as_they_are_finished(two):
    list(two.work(tasks.square, [1, 2]))  # both have begun
    results = two.work(tasks.sleep_after, [(1.5, "slow"), (0.0, "a"), (0.0, "b")])
    assert [index for index, _ in results] == [1, 2, 0]


def test_workers_go_on_while_the_caller_takes_its_time(tmp_path):
    engine = Processes(1)
    results = engine.work(tasks.touch, [tmp_path / "one", tmp_path / "two"])
    next(results)
    deadline = time.monotonic() + 10
    while not (tmp_path / "two").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "two").exists()
    assert [index for index, _ in results] == [1]
    engine.close()


def test_items_and_results_may_be_larger_than_a_pipe_holds(two):
    assert by_index(two.work(tasks.length, [bytes(3_000_000)] * 4)) == dict.fromkeys(
        range(4), 3_000_000
    )
    assert all(len(block) == 3_000_000 for _, block in two.work(tasks.block, [3_000_000] * 4))


def test_workers_are_kept_from_one_work_to_the_next():
    engine = Processes(1)
    first = list(engine.work(tasks.pid, [0, 0]))
    assert list(engine.work(tasks.pid, [0, 0])) == first
    assert first[0][1] != os.getpid()
    engine.close()
    assert gone([first[0][1]], 0.1)


def test_no_more_workers_begin_than_there_are_items():
    engine = Processes(5)
    list(engine.work(tasks.pid, [0, 0]))
    assert len(multiprocessing.active_children()) == 2
    engine.close()


@pytest.mark.parametrize(
    ("n_cores", "n_items", "each"), [(1, 2, 1), (2, 2, 1), (3, 2, 1), (4, 2, 2), (4, 0, 4)]
)
def test_cores_without_a_process_go_to_the_kernels(n_cores, n_items, each):
    assert cores_per_task(n_cores, n_items) == each


@pytest.mark.skipif(threads.n_cores() < 2, reason="needs two cores")
def test_kernels_have_the_cores_of_their_task(two):
    assert list(two.work(tasks.threads_of_kernels, [0])) == [(0, 2)]
    assert by_index(two.work(tasks.threads_of_kernels, [0, 0])) == {0: 1, 1: 1}


def test_the_limit_of_cores_is_for_the_function_alone(monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 4)
    for _, n in Serial(2).work(tasks.threads_of_kernels, [0, 0]):
        assert (n, threads.n_threads()) == (2, 4)


# Logs


def test_workers_log_here(two, logged):
    list(two.work(tasks.log, ["one", "two", "three"]))
    assert sorted(logged.lines) == ["one", "three", "two"]


def test_what_a_task_logs_is_here_before_its_result(two, logged):
    for index, _ in two.work(tasks.log, [str(n) for n in range(20)]):
        assert str(index) in logged.lines


def test_records_keep_what_they_carry(two, logged):
    list(two.work(tasks.log_extras, ["a"]))
    (record,) = logged.records
    assert record.at_work == ("a", "detect")
    assert record.sizes_mb == {"a": 1.5}
    assert record.steps == ("sort",)
    assert (record.getMessage(), record.levelno) == ("a begins", logging.INFO)


def test_many_lines_of_many_threads_arrive_whole(two, logged):
    list(two.work(tasks.log_much, [200] * 4))
    assert len(logged.lines) == 4 * 4 * 200
    assert {len(line.split()[1]) for line in logged.lines} == {300}


def test_workers_follow_the_level_of_the_logger(two, logged):
    list(two.work(tasks.log_levels, [0]))
    logger.setLevel(logging.INFO)
    list(two.work(tasks.log_levels, [0]))
    assert logged.lines == ["debug", "info", "info"]


# Errors


@pytest.mark.parametrize("engine", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_what_a_function_raises_arrives(engine):
    with pytest.raises(ValueError, match="invalid literal"):
        list(engine.work(int, ["1", "x"]))
    engine.close()


def test_an_error_shows_where_it_was_raised(two):
    with pytest.raises(FileNotFoundError) as excinfo:
        list(two.work(os.stat, ["/none"]))
    (note,) = excinfo.value.__notes__
    assert note.startswith("raised in a worker process:\nTraceback")
    assert "worker.py" in note


def test_an_error_that_can_not_be_built_again_is_quoted(two):
    with pytest.raises(RuntimeError, match="Odd: one and two"):
        list(two.work(tasks.raise_odd, [0]))


def test_after_an_error_no_process_is_at_work_and_the_engine_goes_on(two):
    with pytest.raises(ValueError, match="length must be"):
        list(two.work(tasks.sleep, [100, -1]))
    assert multiprocessing.active_children() == []
    assert list(two.work(tasks.square, [3])) == [(0, 9)]


def test_what_can_not_be_pickled_is_an_error(two):
    for function, item in ((lambda x: x, 1), (tasks.square, threading.Lock())):
        with pytest.raises(Exception, match=r"pickle"):
            list(two.work(function, [item]))
    with pytest.raises(TypeError, match="cannot pickle"):
        list(two.work(tasks.unpicklable, [1]))
    assert list(two.work(tasks.square, [3])) == [(0, 9)]


def test_errors_of_the_package_survive_the_way_between_processes():
    import pickle

    err = UnreadableFile("a.fits: bad", hint="fetch it again", size=3)
    back = pickle.loads(pickle.dumps(err))
    assert (str(back), back.metadata) == (str(err), {"size": 3})


# Preparation


def test_workers_are_prepared_before_their_first_task():
    engine = Processes(2, prepare=tasks.prepare)
    assert by_index(engine.work(tasks.prepared, [0] * 4)) == dict.fromkeys(range(4), True)
    engine.close()


def test_an_error_of_the_preparation_arrives():
    engine = Processes(2, prepare=tasks.prepare_badly)
    with pytest.raises(ValueError, match="no kernels"):
        list(engine.work(tasks.square, [1, 2]))
    assert multiprocessing.active_children() == []


def test_workers_that_can_not_begin_are_not_begun_for_ever():
    engine = Processes(2, prepare=tasks.prepare_deadly)
    with pytest.raises(BycatchError, match=r"no process can start: .*exit status 5.*__main__"):
        list(engine.work(tasks.square, [1, 2, 3]))
    assert multiprocessing.active_children() == []


def test_workers_leave_signals_of_the_terminal_to_the_parent(two):
    ((_, result),) = two.work(tasks.dispositions, [0])
    assert result == [signal.SIG_IGN, signal.SIG_IGN, signal.SIG_DFL]


def test_a_signal_waits_until_processes_have_begun():
    came = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with signals.hold_signals():
            # To this thread: one for the process may wait in another thread of the tests.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
            assert came == []
        assert came == [signal.SIGINT]
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_ignored_stays_so_while_processes_begin():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.hold_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# Deaths


def test_only_the_task_that_kills_its_process_is_lost(two):
    items = [1, 2, 13, 3, -1, 4, 13, 5]
    result = by_index(two.work(tasks.kill, items))
    assert result[2].reason == result[6].reason == KILLED
    assert result[4] == LostTask("its worker process ended with exit status 3", may_be_memory=False)
    assert {n: result[n] for n in (0, 1, 3, 5, 7)} == {0: 1, 1: 2, 3: 3, 5: 4, 7: 5}


def test_a_lost_task_may_be_tried_again(two, tmp_path):
    items = [(tmp_path / "died", number) for number in (1, 13)]
    result = by_index(two.work(tasks.kill_once, items))
    assert (result[0], result[1].reason) == (1, KILLED)
    assert list(two.work(tasks.kill_once, items[1:])) == [(0, 13)]


def test_a_process_that_dies_idle_is_replaced(two):
    for wait in (gone, bool):  # when it is gone, or dying
        pids = {result for _, result in two.work(tasks.pid, [0, 0])}
        for number in pids:
            os.kill(number, signal.SIGKILL)
        assert wait(pids)
        assert by_index(two.work(tasks.square, [1, 2, 3])) == {0: 1, 1: 4, 2: 9}


def test_a_process_that_dies_while_it_logs_costs_its_task_alone(two, logged):
    items = [13, 1, 2, 13, 3]
    result = by_index(two.work(tasks.die_logging, items))
    assert result[0].reason == result[3].reason == KILLED
    assert {n: result[n] for n in (1, 2, 4)} == {1: 1, 2: 2, 4: 3}
    assert len(logged.lines) > 10


def test_a_death_is_seen_although_another_process_holds_its_pipe(two):
    began_s = time.monotonic()
    result = by_index(two.work(tasks.die_with_heir, [10, 10]))
    assert time.monotonic() - began_s < 8
    assert [loss.reason for loss in result.values()] == [KILLED] * 2


@pytest.mark.parametrize("seed", range(3))
def test_random_kills_lose_tasks_but_end_the_work(two, logged, seed):
    rng = random.Random(seed)
    stop = threading.Event()
    victims = []

    def kill_some():
        while not stop.wait(rng.uniform(0.02, 0.15)):
            # Those that have begun, of which their records tell.
            pids = {record.process for record in list(logged.records)}
            if alive := [number for number in pids if is_there(number)]:
                victims.append(rng.choice(alive))
                os.kill(victims[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        outcome = by_index(two.work(tasks.log_and_sleep, [0.05] * 40))
    finally:
        stop.set()
        killer.join()
    assert sorted(outcome) == list(range(40))
    assert all(result == 0.05 or result.reason == KILLED for result in outcome.values())
    assert 3 < sum(isinstance(result, LostTask) for result in outcome.values()) <= len(victims)
    assert list(two.work(tasks.square, [3])) == [(0, 9)]


def test_a_process_that_dies_before_its_first_task_costs_none():
    engine = Processes(2, prepare=tasks.prepare_for_long)
    stop = threading.Event()
    victims = []

    def kill_some():
        while not stop.wait(0.1) and len(victims) < 3:
            for number in pids_of_workers()[:1]:
                victims.append(number)
                os.kill(number, signal.SIGKILL)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        result = by_index(engine.work(tasks.square, [1, 2, 3]))
    finally:
        stop.set()
        killer.join()
    engine.close()
    assert result == {0: 1, 1: 4, 2: 9}
    assert len(victims) == 3


@pytest.mark.parametrize(
    ("status", "before", "now", "words", "may_be"),
    [
        (-9, 3, 3, "was killed by signal 9 (SIGKILL)", False),
        (-9, 3, 4, "was killed by signal 9 (SIGKILL)", True),
        (-9, None, None, "was killed by signal 9 (SIGKILL)", True),
        (-11, 3, 4, "was killed by signal 11 (SIGSEGV)", False),
        (-63, 3, 4, "was killed by signal 63", False),
        (1, 3, 4, "ended with exit status 1", False),
        (NO_MEMORY, 3, 3, "ran out of memory", True),
        (None, 3, 3, "is gone", False),
    ],
)
def test_how_a_process_died_is_reported_in_words(monkeypatch, status, before, now, words, may_be):
    monkeypatch.setattr(memory, "n_killed", lambda: now)
    assert lost_task(status, before) == LostTask(f"its worker process {words}", may_be)


def test_a_result_for_which_there_is_no_memory_loses_its_task(two):
    ((_, loss),) = two.work(tasks.too_large, [0])
    assert loss == LostTask("its worker process ran out of memory", may_be_memory=True)


# The end


def test_who_stops_reading_stops_the_work(two):
    results = two.work(tasks.sleep_after, [(100.0, 1), (0.0, 2), (0.5, 3)])
    assert next(results) == (1, 2)
    assert next(results) == (2, 3)
    busy = multiprocessing.active_children()
    began_s = time.monotonic()
    results.close()
    assert time.monotonic() - began_s < 2
    assert len(busy) == 2
    assert len(multiprocessing.active_children()) == 1  # the one that had nothing to do is kept
    assert list(two.work(tasks.square, [3])) == [(0, 9)]


def test_an_interruption_ends_the_work_at_once(two):
    class Stopped(BaseException):
        pass

    def stop(*_):
        raise Stopped

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    began_s = time.monotonic()
    with pytest.raises(Stopped):
        list(two.work(tasks.sleep, [100, 100]))
    assert time.monotonic() - began_s < 3
    assert multiprocessing.active_children() == []


def test_closing_an_engine_ends_what_is_being_done():
    engine = Processes(2)
    results = engine.work(tasks.sleep_after, [(0.0, 1), (100.0, 2), (100.0, 3)])
    next(results)
    with pytest.raises(RuntimeError, match="is busy"):
        next(engine.work(tasks.square, [1]))
    began_s = time.monotonic()
    engine.close()
    assert time.monotonic() - began_s < 3
    assert multiprocessing.active_children() == []


def test_workers_that_still_log_can_be_closed(two, logged):
    list(two.work(tasks.log_later, [0, 0]))
    began_s = time.monotonic()
    two.close()
    assert time.monotonic() - began_s < processes.POLITE_S
    assert sum(line == "x" * 1000 for line in logged.lines) == 2 * 500


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_process_that_began_it(tmp_path, how):
    code = f"""
        import sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import engine_tasks
        from bycatch.engines import Processes
        if __name__ == "__main__":
            list(Processes(2).work(engine_tasks.touch_and_sleep, [({str(tmp_path)!r}, 100)] * 2))
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    parent = subprocess.Popen([sys.executable, script])
    try:
        pids = begun_in(tmp_path, 2)
        parent.send_signal(how)
        assert parent.wait(10) == -how
        assert gone(pids)
    finally:
        parent.kill()
        parent.wait()


def begun_in(folder, n, within_s=30.0):
    """Wait for tasks to begin, and return the numbers of their processes."""
    deadline = time.monotonic() + within_s
    results = []
    while len(results) < n and time.monotonic() < deadline:
        time.sleep(0.02)
        results = [int(path.name) for path in folder.glob("[0-9]*")]
    assert len(results) == n
    return results


@pytest.mark.parametrize("wait_s", [0.01, 0.03, 0.06, 0.1, 0.2, 0.5])
def test_ctrl_c_ends_all_processes_without_a_complaint(tmp_path, wait_s):
    code = f"""
        import signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import engine_tasks
        from bycatch.engines import Processes
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)
            engine = Processes(2)
            try:
                print("here", flush=True)
                for _ in engine.work(engine_tasks.sleep, [0.01] * 10_000):
                    pass
            except KeyboardInterrupt:
                pass
            finally:
                engine.close()
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout.readline() == "here\n"
        time.sleep(wait_s)
        os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate(timeout=20)
    finally:
        parent.kill()
        parent.communicate()
    assert (parent.returncode, err) == (0, "")


# The choice


def test_one_worker_is_serial():
    assert isinstance(executor_of(None, 1), Serial)
    assert isinstance(executor_of(None, None), Serial)
    assert isinstance(executor_of(None, 2), Processes)


def test_engines_have_names():
    assert executor_of("serial", 3).n_cores == 3
    assert executor_of("processes", 3).n_workers == 3
    assert executor_of("processes").n_workers == threads.n_cores()


def test_an_engine_of_the_user_is_taken_as_it_is():
    class Own:
        def work(self, function, items):
            return iter(())

        def close(self):
            pass

    own = Own()
    assert executor_of(own, 2) is own


@pytest.mark.parametrize("engine", ["threads", "", 7, object()])
def test_what_is_no_engine_is_refused(engine):
    with pytest.raises(
        SettingsError, match=r"is not an engine - use 'serial', 'processes', 'dask'"
    ):
        executor_of(engine, 2)
