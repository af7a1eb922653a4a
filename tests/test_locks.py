"""Locks: one holder at a time, whatever the others do and however a holder ends."""

import hashlib
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bycatch.system import locks, running
from bycatch.system.locks import Holder, LockHeld, lock, wait_for

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
SINCE = "2026-11-29T12:03:05Z"
HOLD = """
import sys, time
from pathlib import Path
from bycatch.system.locks import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path):
    return tmp_path / ".lock"


def names(place):
    return sorted(path.name for path in place.parent.iterdir())


def age(path, seconds):
    moment = time.time() - seconds
    os.utime(path, (moment, moment), follow_symlinks=False)


def write(place, holder, *, age_s=0.0):
    place.write_text(json.dumps(asdict(holder) | {"token": "00"}))
    age(place, age_s)


def other_process(place):
    """Start a process that takes the lock, and return it once it has."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_holder_at_a_time_and_nothing_left(place):
    with lock(place) as own_lock:
        assert own_lock.is_ours()
        content = json.loads(place.read_bytes())
        assert (content["host"], content["pid"]) == (socket.gethostname(), os.getpid())
        with pytest.raises(LockHeld) as err:
            lock(place)
        assert err.value.holder == Holder(**{k: v for k, v in content.items() if k != "token"})
        assert names(place) == [".lock"]
    assert names(place) == []
    with lock(place):
        pass


def test_the_error_says_who_since_when_and_what_to_do(place):
    with lock(place), pytest.raises(LockHeld) as excinfo:
        lock(place)
    err = excinfo.value
    since = f"{err.holder.since[:10]} {err.holder.since[11:16]} UTC"
    words = f"host {socket.gethostname()}, process {os.getpid()}, since {since}"
    assert err.holder.words() == words
    assert err.message == f"{place.parent}: in use by another run: {words}"
    assert str(place) in err.hint
    back = pickle.loads(pickle.dumps(err))
    assert (str(back), back.holder) == (str(err), err.holder)


def test_words_of_a_holder():
    assert (
        Holder("n12", 4711, SINCE).words() == "host n12, process 4711, since 2026-11-29 12:03 UTC"
    )
    assert "\n" not in Holder("n\n12", 1, SINCE).words()


def test_it_is_released_after_an_error_too(place):
    with pytest.raises(ZeroDivisionError), lock(place):
        _ = 1 / 0
    assert names(place) == []


def test_threads_of_one_process_exclude_one_another(place):
    had, barrier = [], threading.Barrier(8)

    def attempt():
        barrier.wait()
        try:
            had.append(lock(place))
        except LockHeld:
            had.append(None)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(had) == 8
    (own_lock,) = filter(None, had)
    own_lock.release()
    assert names(place) == []


def test_a_folder_that_is_not_there_or_that_nobody_may_write_to(place, monkeypatch):
    with pytest.raises(FileNotFoundError):
        lock(place.parent / "none" / ".lock")

    def refused(*_):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(os, "open", refused)  # root may write everywhere
    with pytest.raises(PermissionError):
        lock(place)


def test_who_waits_gets_it_once_it_is_free(place, caplog, monkeypatch):
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    own_lock = lock(place)
    timer = threading.Timer(0.1, own_lock.release)
    timer.start()
    with caplog.at_level(logging.INFO, "bycatch"), wait_for(place) as mine:
        assert mine.is_ours()
    timer.join()
    assert caplog.text.count(f"waiting for another run: host {socket.gethostname()}") == 1
    with wait_for(place):
        pass
    assert names(place) == []


def test_what_is_no_longer_ours_is_not_removed(place):
    own_lock = lock(place)
    place.unlink()
    write(place, Holder("elsewhere", 1, SINCE))
    assert not own_lock.is_ours()
    own_lock.release()
    assert names(place) == [".lock"]


# ---- holders that ended -----------------------------------------------------------------------


@linux
def test_the_lock_of_a_killed_process_is_taken_over_at_once(place, caplog):
    process = other_process(place)
    with pytest.raises(LockHeld) as excinfo:
        lock(place)
    assert excinfo.value.holder.pid == process.pid
    end(process)
    with caplog.at_level(logging.WARNING, "bycatch"), lock(place):
        assert names(place) == [".lock"]
    assert f"taken over from a run that has ended: host {socket.gethostname()}" in caplog.text
    assert names(place) == []


@linux
def test_that_of_a_process_that_nobody_waited_for_too(place):
    process = other_process(place)
    process.send_signal(signal.SIGKILL)
    stat = Path(f"/proc/{process.pid}/stat")
    while b") Z " not in stat.read_bytes():
        time.sleep(0.01)
    with lock(place):
        pass
    end(process)


@linux
def test_a_stopped_process_of_this_host_keeps_its_lock(place):
    process = other_process(place)
    process.send_signal(signal.SIGSTOP)
    age(place, 10 * locks.STALE_S)
    with pytest.raises(LockHeld):
        lock(place)
    end(process)


@linux
def test_another_process_with_the_same_number_is_another_one(place):
    holder = Holder(socket.gethostname(), os.getpid(), SINCE, running.boot(), 1)
    write(place, holder)
    with lock(place):
        pass


@pytest.mark.parametrize("boot", ["", "another one"])
def test_after_another_start_of_the_system_the_heartbeat_decides(place, boot):
    holder = Holder(socket.gethostname(), 2**22 + 1, SINCE, boot, 1)
    if boot == running.boot():
        pytest.skip("no /proc")
    write(place, holder, age_s=locks.STALE_S - 20)
    with pytest.raises(LockHeld):
        lock(place)
    age(place, locks.STALE_S + 20)
    with lock(place):
        pass


def test_without_proc_a_process_that_is_gone_is_gone_and_a_number_proves_nothing(
    place, monkeypatch
):
    monkeypatch.setattr(running, "PROC", place / "none")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    write(place, Holder(socket.gethostname(), process.pid, SINCE))
    with lock(place):
        assert json.loads(place.read_bytes())["started"] is None
        with pytest.raises(LockHeld):
            lock(place)
        age(place, 2 * locks.STALE_S)
        lock(place).release()


def test_the_lock_of_another_host_is_stale_by_its_heartbeat_only(place, monkeypatch):
    process = other_process(place)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    end(process)
    with pytest.raises(LockHeld):
        lock(place)
    age(place, locks.STALE_S - 20)
    with pytest.raises(LockHeld):
        lock(place)
    age(place, locks.STALE_S + 20)
    with lock(place):
        assert json.loads(place.read_bytes())["host"] == "elsewhere"


def test_the_clock_is_that_of_the_file_system(place, monkeypatch):
    write(place, Holder("elsewhere", 1, SINCE))
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + 10 * locks.STALE_S)
    with pytest.raises(LockHeld):
        lock(place)
    monkeypatch.setattr(locks, "_now_ns", lambda _: place.stat().st_mtime_ns + int(601e9))
    lock(place).release()


def test_a_heartbeat_keeps_it_fresh_until_it_is_released(place, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    with lock(place) as own_lock:
        age(place, 5000)
        deadline = time.monotonic() + 10
        while time.time() - place.stat().st_mtime > 60:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert own_lock.is_ours()
    place.write_text("of another one")
    age(place, 5000)
    time.sleep(0.1)
    assert time.time() - place.stat().st_mtime > 4000


def test_a_holder_learns_that_another_host_has_taken_over(place, monkeypatch, caplog):
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    with caplog.at_level(logging.WARNING, "bycatch"), lock(place):
        # In one step: a lock that is gone for a moment has been taken over as well.
        write(place.with_name("theirs"), Holder("elsewhere", 1, SINCE), age_s=5000)
        place.with_name("theirs").replace(place)
        deadline = time.monotonic() + 10
        while "has taken over this lock" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert time.time() - place.stat().st_mtime > 4000
    assert json.loads(place.read_bytes())["host"] == "elsewhere"


# ---- damage -------------------------------------------------------------------------------------

HOSTILE = {
    "empty": "",
    "cut": '{"host": "n12", "pi',
    "no text": b"\xff\xfe\x00",
    "list": "[1, 2]",
    "number": "7",
    "deep": "[" * 4000,
    "long": "x" * 100_000,
    "no pid": json.dumps(asdict(Holder("h", 1, SINCE)) | {"pid": None}),
    "pid of a group": json.dumps(asdict(Holder("h", -1, SINCE))),
    "huge pid": json.dumps(asdict(Holder("h", 10**30, SINCE))),
    "no time": json.dumps(asdict(Holder("h", 1, "now"))),
    "host of another kind": json.dumps(asdict(Holder("h", 1, SINCE)) | {"host": ["h"]}),
    "true": json.dumps(asdict(Holder("h", 1, SINCE)) | {"pid": True}),
}


@pytest.mark.parametrize("damage", HOSTILE)
def test_a_damaged_lock_is_held_until_it_is_old(place, damage):
    content = HOSTILE[damage]
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LockHeld, match="the lock file is damaged"):
        lock(place)
    age(place, locks.STALE_S + 20)
    with lock(place):
        assert names(place) == [".lock"]
    assert names(place) == []


def test_a_heartbeat_far_in_the_future_is_none(place):
    place.write_text("")
    age(place, -locks.STALE_S - 20)
    lock(place).release()


@pytest.mark.parametrize("to", ["file", "nothing"])
def test_a_link_in_its_place_is_not_followed(place, to):
    target = place.with_name(to)
    if to == "file":
        target.write_text("theirs")
        age(target, 5000)
    place.symlink_to(target)
    with pytest.raises(LockHeld):
        lock(place)
    age(place, locks.STALE_S + 20)
    with lock(place):
        assert place.is_file()
        assert not place.is_symlink()
    assert names(place) == (["file"] if to == "file" else [])
    if to == "file":
        assert target.read_text() == "theirs"


def test_a_folder_in_its_place_is_moved_aside(place):
    place.mkdir()
    (place / "kept.txt").write_text("theirs")
    with pytest.raises(LockHeld):
        lock(place)
    age(place, locks.STALE_S + 20)
    lock(place).release()
    (aside,) = place.parent.iterdir()
    assert (aside / "kept.txt").read_text() == "theirs"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system")
def test_a_pipe_in_its_place_does_not_stop_us(place):
    os.mkfifo(place)
    with pytest.raises(LockHeld):
        lock(place)


def test_without_hard_links_it_works_all_the_same(place, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with lock(place) as own_lock:
        assert own_lock.is_ours()
        with pytest.raises(LockHeld):
            lock(place)
        assert names(place) == [".lock"]
    write(place, Holder("elsewhere", 1, SINCE), age_s=5000)
    lock(place).release()
    assert names(place) == []


def test_an_answer_of_nfs_that_came_twice_is_one_success(place, monkeypatch):
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    with lock(place) as own_lock:
        assert own_lock.is_ours()


def test_what_killed_processes_left_goes_once_it_is_old(place):
    old = [place.with_name(f".lock.{'0' * 16}.{kind}") for kind in ("new", "old", "claim", "clock")]
    fresh = place.with_name(f".lock.{'1' * 16}.new")
    theirs = [place.with_name(name) for name in (".lock.txt", ".lock.00.new", "lock")]
    for path in (*old, fresh, *theirs):
        path.write_text("")
        age(path, 0 if path is fresh else 5000)
    with lock(place):
        assert names(place) == sorted(path.name for path in (place, fresh, *theirs))


# ---- taking over ------------------------------------------------------------------------------


def test_a_holder_that_comes_back_amid_the_take_over_keeps_its_lock(place, monkeypatch):
    write(place, Holder("elsewhere", 1, SINCE), age_s=5000)
    content, rename = place.read_bytes(), Path.rename

    def after_a_heartbeat(path, target):
        if path == place:
            os.utime(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", after_a_heartbeat)
    with pytest.raises(LockHeld):
        lock(place)
    assert place.read_bytes() == content
    assert names(place) == [".lock"]


def claim_of(place):
    return place.with_name(f".lock.{hashlib.sha256(place.read_bytes()).hexdigest()[:16]}.claim")


def test_while_somebody_takes_over_the_others_wait_and_then_give_up(place, monkeypatch):
    monkeypatch.setattr(locks, "PAUSE_S", 0.001)
    write(place, Holder("elsewhere", 1, SINCE), age_s=5000)
    claim = lock(claim_of(place))
    with pytest.raises(LockHeld) as excinfo:
        lock(place)
    assert excinfo.value.holder.pid == os.getpid()
    claim.release()
    lock(place).release()


@linux
def test_a_process_killed_amid_the_take_over_does_not_block_it(place):
    write(place, Holder("elsewhere", 1, SINCE), age_s=5000)
    end(other_process(claim_of(place)))
    with lock(place):
        assert names(place) == [".lock"]


WORK = """
import logging, os, sys, time
from pathlib import Path
from bycatch.system.locks import LockHeld, lock
logging.getLogger("bycatch").setLevel(logging.ERROR)
place, inside, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
overlaps = 0
for _ in range(rounds):
    while True:
        try:
            held = lock(place)
            break
        except LockHeld:
            time.sleep(0.0005)
    try:
        os.mkdir(inside)  # two can't
        time.sleep(0)
        os.rmdir(inside)
    except OSError:
        overlaps += 1
    held.release()
print(overlaps, flush=True)
"""

RACE = """
import logging, sys, time
from pathlib import Path
from bycatch.system.locks import LockHeld, lock
logging.getLogger("bycatch").setLevel(logging.ERROR)
place = Path(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    try:
        held = lock(place)
    except LockHeld:
        held = None
    print("had" if held else "held", flush=True)
    sys.stdin.readline()
    if held:
        held.release()
    print("ready", flush=True)
"""


def eight(program, *words):
    """Start eight processes that talk by lines, and return them once they are ready."""
    command = [sys.executable, "-c", program, *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(8)]
    assert heard(processes) == ["ready"] * 8
    return processes


def tell(processes):
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def heard(processes):
    return [process.stdout.readline().strip() for process in processes]


def ended(processes):
    for process in processes:
        process.stdin.close()
        process.stdout.close()
    return [process.wait() for process in processes]


def test_eight_processes_never_overlap(place):
    processes = eight(WORK, place, place.with_name("inside"), 200)
    tell(processes)
    assert heard(processes) == ["0"] * 8
    assert ended(processes) == [0] * 8
    assert names(place) == []


def test_of_eight_processes_that_find_a_stale_lock_one_gets_it(place):
    processes = eight(RACE, place)
    for k in range(100):
        # Of another host and long silent, or of a process of ours that is gone.
        host, boot = (socket.gethostname(), running.boot()) if k % 2 else ("elsewhere", "")
        write(place, Holder(host, 2**22 + 1, SINCE, boot, k), age_s=5000)
        tell(processes)
        assert sorted(heard(processes)) == ["had"] + ["held"] * 7
        tell(processes)
        assert heard(processes) == ["ready"] * 8
    assert ended(processes) == [0] * 8
    assert names(place) == []
