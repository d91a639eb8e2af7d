"""Every way in which a job is stopped, with real signals to real processes."""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jobs_at_work import Ended, Program, program

from checkpoint import CrashLoopError, MemoryStore, Preempted, resumable

__all__ = ["program"]  # a fixture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

PREEMPTED = 75
INTERRUPTED = -signal.SIGINT  # how Python ends after KeyboardInterrupt; a shell says 130
STOPPING = "checkpoint: stopping after this turn"

# Holds in turn 10; saves after the first turn, and then as *every* says.
COUNT = """
    @checkpoint.resumable(every={every}{more})
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x)
            if x == 10:
                hold("in turn 10")
            s.total += x
        {last}
        return s.total
    """


def counting(program: Program, *, every: Any = "1h", more: str = "", last: str = "pass") -> Program:
    return program.write(COUNT.format(every=repr(every), more=more, last=last))


def goes_on(program: Program, turn: int, call: str = "count(20)", result: str = "190") -> Ended:
    """Run it again: it begins in *turn*, and its result is that of a run without a stop."""
    ended = program.run(call)
    assert ended.result() == result
    assert int(ended.told("turn")[0]) == turn
    return ended


# --- killed -----------------------------------------------------------------


def test_after_a_kill_it_goes_on_from_the_last_save_and_repeats_less_than_every_turns(
    program: Program,
) -> None:
    counting(program, every=5)
    ended = program.start("count(20)").until("in turn 10").send(signal.SIGKILL).ended()
    assert ended.code == -signal.SIGKILL
    status = program.status()
    assert (status.status, status.position) == ("killed", "turn 6 of 20")
    goes_on(program, 6)
    assert program.status().status == "done"


def test_after_a_kill_it_repeats_no_more_time_than_every(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every="40ms")
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x, time.monotonic())
                time.sleep(0.003)
                s.total += x
            return s.total
    """)
    killed = program.start("count(150)").until("turn 100 ").send(signal.SIGKILL).ended()
    began = {int(turn): float(at) for turn, at in map(str.split, killed.told("turn"))}
    ended = program.run("count(150)")
    assert ended.result() == str(sum(range(150)))
    first = int(ended.told("turn")[0].split()[0])
    times = sorted(began.values())
    longest = max(b - a for a, b in pairwise(times))  # a turn and a save
    assert first > 1
    assert first not in began or max(times) - began[first] <= 0.04 + 2 * longest


# --- asked to stop ----------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_stops_it_after_a_save_at_the_end_of_the_turn(program: Program, name: str) -> None:
    counting(program, more=", signals=('SIGTERM', 'SIGHUP', 'SIGUSR1')")
    running = program.start("count(20)").until("in turn 10").send(getattr(signal, name))
    ended = running.go_on().ended()
    assert ended.code == PREEMPTED
    assert ended.told("turn")[-1] == "10"
    status = program.status()
    assert (status.status, status.position) == ("preempted", "turn 11 of 20")
    again = goes_on(program, 11)
    assert "turn 11 of 20" in again.lines[0]


def test_a_signal_that_was_not_asked_for_does_what_it_does(program: Program) -> None:
    counting(program)
    running = program.start("count(20)").until("in turn 10").send(signal.SIGUSR1)
    assert running.ended().code == -signal.SIGUSR1
    goes_on(program, 1)


@pytest.mark.parametrize("by", ["job.request_stop()", "elsewhere(job)"])
def test_request_stop_stops_it_as_a_signal_does(program: Program, by: str) -> None:
    program.write(f"""
        def elsewhere(job):
            thread = threading.Thread(target=job.request_stop)
            thread.start()
            thread.join()

        @checkpoint.resumable(every="1h")
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 10 and job.attempt == 1:
                    {by}
                s.total += x
            return s.total
    """)
    ended = program.run("count(20)")
    assert ended.code == PREEMPTED
    assert (program.status().status, program.status().position) == ("preempted", "turn 11 of 20")
    goes_on(program, 11)


def test_a_generator_stops_after_a_save_too(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every="1h")
        def count(n, state=None):
            s = state or {"x": 0, "total": 0}
            while s["x"] < n:
                tell("turn", s["x"])
                if s["x"] == 10:
                    hold("in turn 10")
                s["total"] += s["x"]
                s["x"] += 1
                yield s
            return s["total"]
    """)
    running = program.start("count(20)").until("in turn 10").send(signal.SIGTERM)
    assert running.go_on().ended().code == PREEMPTED
    goes_on(program, 11)


def test_between_two_steps_it_stops_and_the_journal_has_what_was_done(program: Program) -> None:
    program.write("""
        def square(x):
            hold("turn", x)
            return x * x

        @checkpoint.resumable
        def squares(n, *, job):
            return sum([job.step(square, x) for x in range(n)])
    """)
    running = program.start("squares(5)").until("turn 0").go_on().until("turn 1")
    assert running.send(signal.SIGTERM).go_on().ended().code == PREEMPTED
    assert program.status().status == "preempted"
    goes_on(program, 2, "squares(5)", "30")


def test_the_exception_is_a_system_exit_with_code_75_that_says_where(program: Program) -> None:
    counting(program)
    module = program.imported()
    store = MemoryStore()

    @resumable(store=store, name="asked")
    def asked(n: int, *, job: Any) -> int:
        for _ in job.loop(range(n)):
            job.request_stop()
        return n

    with pytest.raises(Preempted, match=r"asked\(n=3\) was stopped by request_stop\(\), turn 1 of"):
        asked(3)
    assert issubclass(Preempted, SystemExit) and Preempted().code == PREEMPTED
    assert module.count.status(20) is None


# --- Ctrl-C -----------------------------------------------------------------


def test_the_first_ctrl_c_says_so_in_one_line_and_stops_after_a_save(program: Program) -> None:
    counting(program)
    running = program.start("count(20)").until("in turn 10").send(signal.SIGINT).until(STOPPING)
    ended = running.go_on().ended()
    assert ended.code == INTERRUPTED
    assert len([line for line in ended.lines if line.startswith(STOPPING)]) == 1
    assert ended.lines[-1].startswith(
        "KeyboardInterrupt: program.count(n=20) was stopped by SIGINT"
    )
    status = program.status()
    assert (status.status, status.position) == ("interrupted", "turn 11 of 20")
    goes_on(program, 11)


def test_the_second_ctrl_c_stops_at_once_without_a_save(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every=4)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 10 and job.attempt == 1:
                    s.total = -1000
                    time.sleep(60)
                s.total += x
            return s.total
    """)
    running = program.start("count(20)").until("turn 10").send(signal.SIGINT).until(STOPPING)
    asked = time.monotonic()
    ended = running.send(signal.SIGINT).ended()
    assert ended.code == INTERRUPTED
    assert time.monotonic() - asked < 20
    assert (program.status().status, program.status().position) == ("interrupted", "turn 9 of 20")
    goes_on(program, 9)


def test_ctrl_c_after_another_signal_stops_at_once_too(program: Program) -> None:
    program.write(
        COUNT.format(every=4, more="", last="pass")
        + """
    signal.signal(signal.SIGTERM, lambda *_: tell("asked"))
    """
    )
    running = program.start("count(20)").until("in turn 10").send(signal.SIGTERM).until("asked")
    assert running.send(signal.SIGINT).process.wait(20) == INTERRUPTED
    running.ended()
    goes_on(program, 9)


# --- the grace is over ------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, PREEMPTED, "preempted"), (signal.SIGINT, INTERRUPTED, "interrupted")],
)
@pytest.mark.parametrize("busy", ["time.sleep(60)", "all(iter(lambda: 1, 0))"])
def test_a_turn_that_does_not_end_is_broken_off_after_the_grace_without_a_save(
    program: Program, number: int, code: int, word: str, busy: str
) -> None:
    program.write(f"""
        @checkpoint.resumable(every=4, grace=0.1)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 10 and job.attempt == 1:
                    s.total = -1000
                    {busy}
                s.total += x
            return s.total
    """)
    running = program.start("count(20)").until("turn 10").send(number)
    assert running.process.wait(20) == code
    running.ended()
    assert (program.status().status, program.status().position) == (word, "turn 9 of 20")
    goes_on(program, 9)


def test_a_turn_that_ends_within_the_grace_is_saved(program: Program) -> None:
    counting(program, more=", grace=20")
    running = program.start("count(20)").until("in turn 10").send(signal.SIGTERM)
    assert running.go_on().ended().code == PREEMPTED
    goes_on(program, 11)


# --- an error ---------------------------------------------------------------


def test_an_error_is_raised_unchanged_and_the_last_good_version_stays(program: Program) -> None:
    program.write("""
        class Odd(Exception):
            pass

        @checkpoint.resumable(every=4)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 10 and job.attempt == 1:
                    s.total = -1000
                    raise Odd("ten is odd")
                s.total += x
            return s.total
    """)
    ended = program.run("count(20)")
    assert ended.code == 1
    assert "Odd: ten is odd" in ended.lines
    note = "checkpoint: called again, program.count(n=20) goes on from turn 9 of 20"
    assert ended.lines[-1].startswith(note)
    module = program.imported()
    status = module.count.status(20)
    assert (status.status, status.position, status.attempt) == ("failed", "turn 9 of 20", 1)
    (failure,) = status.failures
    assert failure.startswith("attempt 1, after turn 9 of 20: ")
    assert "Odd: ten is odd" in failure and "raise Odd(" in failure and "program.py" in failure
    goes_on(program, 9)
    assert module.count.status(20).status == "done"


def test_the_error_is_the_very_object_that_was_raised(tmp_path: Path) -> None:
    raised = ValueError("mine")

    @resumable(store=tmp_path, name="fails")
    def fails(*, job: Any) -> None:
        for _ in job.loop(range(3)):
            raise raised

    with pytest.raises(ValueError, match="mine") as caught:
        fails()
    assert caught.value is raised
    assert raised.__notes__ == ["checkpoint: called again, fails() goes on"]


# --- in the last lines, and after -------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_the_last_lines_comes_too_late_and_the_result_is_kept(
    program: Program, name: str
) -> None:
    counting(program, last='hold("last lines")')
    running = program.start("count(20)").until("in turn 10").go_on().until("last lines")
    ended = running.send(getattr(signal, name)).go_on().ended()
    assert ended.result() == "190"
    assert program.status().status == "done"


SLOW_TO_CLEAN = """
    class Slow(checkpoint.LocalStore):
        is_last = False

        def delete(self, keys):
            if store.is_last:
                store.is_last = False
                {during}
            super().delete(keys)

    store = Slow("store")

    @checkpoint.resumable(every=1, store=store, grace={grace})
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x)
            s.total += x
        store.is_last = True
        return s.total
    """


def test_a_signal_after_the_result_is_committed_changes_nothing(program: Program) -> None:
    program.write(SLOW_TO_CLEAN.format(during='hold("cleaning")', grace=20))
    running = program.start("count(3)").until("cleaning")
    assert program.status().status == "done"
    assert running.send(signal.SIGTERM).go_on().ended().result() == "3"
    assert program.status().status == "done"


@pytest.mark.parametrize("again", [True, False], ids=["a second Ctrl-C", "the grace"])
def test_breaking_off_what_comes_after_the_result_does_not_lose_it(
    program: Program, again: bool
) -> None:
    during = 'tell("cleaning"); time.sleep(float(os.environ["SLOW"]))'
    program.write(SLOW_TO_CLEAN.format(during=during, grace=20 if again else 0.1))
    running = program.start("count(3)", environment={"SLOW": "60"}).until("cleaning")
    running.send(signal.SIGINT).until(STOPPING)
    if again:
        running.send(signal.SIGINT)
    assert running.process.wait(20) == INTERRUPTED
    assert program.status().status == "done"
    ended = program.run("count(3)", environment={"SLOW": "0"})
    assert ended.result() == "3" and ended.told("turn") == []


# --- a deadline -------------------------------------------------------------

TIMED = """
    @checkpoint.resumable(every="1h"{deadline})
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x, time.time())
            time.sleep(0.05)
            s.total += x
        return s.total
    """


def in_time(ended: Ended, end: float) -> int:
    """How many turns were begun; each could end before *end*."""
    assert ended.code == PREEMPTED, ended.text
    turns = [float(line.split()[1]) for line in ended.told("turn")]
    assert all(begun + 0.05 <= end for begun in turns)
    return len(turns)


@pytest.mark.parametrize(
    "deadline", ["'600ms'", "datetime.datetime.now() + datetime.timedelta(seconds=0.6)"]
)
def test_before_its_deadline_it_stops_after_a_save_and_begins_no_turn_that_cannot_end(
    program: Program, deadline: str
) -> None:
    program.write("import datetime\n" + dedented(TIMED.format(deadline=f", deadline={deadline}")))
    begun = time.time()
    ended = program.run("[tell('starts', time.time()), count(1000)]")
    done = in_time(ended, float(ended.told("starts")[0]) + 0.6)
    assert 1 <= done <= 12 and time.time() - begun < 20
    assert program.status().position == f"turn {done} of 1,000"
    assert program.run("count(1000)").told("turn")[0].startswith(f"{done} ")


def test_the_end_that_slurm_tells_is_a_deadline(program: Program) -> None:
    program.write(TIMED.format(deadline=""))
    # From when it has been imported, which may take a while on a busy machine.
    name, end = "SLURM_JOB_END_TIME", "str(int(time.time()) + 2)"
    ended = program.run(f"[os.environ.update({name}={end}), count(1000)]")
    ended_by = float(ended.told("turn")[0].split()[1]) // 1 + 2
    assert in_time(ended, ended_by) >= 1
    assert program.status().status == "preempted"


def dedented(source: str) -> str:
    return re.sub(r"(?m)^    ", "", source)


# --- a crash loop -----------------------------------------------------------

DIES = """
    @checkpoint.resumable(every=1, max_attempts=3, on_code_change="ignore")
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            tell("turn", x)
            if x == int(os.environ.get("DIES_AT", -1)):
                {how}
            s.total += x
        return s.total
    """
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("how", [KILLED, 'raise ValueError("no")', "os._exit(3)"])
def test_a_job_that_dies_in_one_place_is_not_begun_once_more(program: Program, how: str) -> None:
    program.write(DIES.format(how=how))
    dies = {"DIES_AT": "5"}
    for _ in range(3):
        ended = program.run("count(20)", environment=dies)
        assert ended.code not in (0, PREEMPTED) and ended.told("turn")[-1] == "5"
    ended = program.run("count(20)", environment=dies)
    assert ended.told("turn") == []
    assert "CrashLoopError: program.count(n=20) was begun 3 times and got no" in ended.text
    with pytest.raises(CrashLoopError) as caught:
        program.imported().count(20)
    failures = caught.value.failures
    word = "ValueError: no" if "raise" in how else "killed at turn 5 of 20, without a word"
    assert len(failures) == 3
    for number, failure in enumerate(failures, 1):
        assert failure.startswith(f"attempt {number}") and word in failure


def test_attempts_count_anew_after_progress(program: Program) -> None:
    program.write(DIES.format(how=KILLED))
    for place in (5, 5, 6, 6, 7, 7):
        ended = program.run("count(20)", environment={"DIES_AT": str(place)})
        assert ended.code == -signal.SIGKILL
    goes_on(program, 7)


def test_attempts_count_anew_after_the_code_has_changed(program: Program) -> None:
    program.write(DIES.format(how=KILLED))
    for _ in range(3):
        program.run("count(20)", environment={"DIES_AT": "5"})
    program.write(DIES.format(how=f"{KILLED}  # a comment is no change"))
    assert "CrashLoopError" in program.run("count(20)").text
    program.write(DIES.format(how="pass"))
    goes_on(program, 5)


def test_attempts_that_were_preempted_do_not_count(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every=1, max_attempts=1, grace=0.05)
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 5:
                    hold("in turn 5")
                s.total += x
            return s.total
    """)
    for _ in range(3):
        running = program.start("count(20)").until("in turn 5").send(signal.SIGTERM)
        assert running.process.wait(20) == PREEMPTED  # Nothing was saved: it held.
        running.ended()
        assert program.status().position == "turn 5 of 20"
    goes_on(program, 5)


@pytest.mark.parametrize("body", ["[job.step(dies, x) for x in range(n)]", "job.map(dies, xs)"])
def test_a_job_that_gets_further_in_its_journal_is_in_no_crash_loop(
    program: Program, body: str
) -> None:
    program.write(f"""
        def dies(x):
            tell("turn", x)
            if x == int(os.environ.get("DIES_AT", -1)):
                {KILLED}
            return x

        @checkpoint.resumable(every=1, max_attempts=2)
        def count(n, *, job):
            xs = range(n)
            return sum({body})
    """)
    for place in (2, 3, 5, 7):
        ended = program.run("count(20)", environment={"DIES_AT": str(place)})
        assert ended.code == -signal.SIGKILL, ended.text
    goes_on(program, 7)


# --- handlers ---------------------------------------------------------------


def test_a_signal_that_is_ignored_stays_ignored(program: Program) -> None:
    counting(program)
    nohup = shutil.which("nohup")
    assert nohup is not None
    running = program.start("count(20)", nohup).until("in turn 10").send(signal.SIGHUP)
    assert running.go_on().ended().result() == "190"


HANDLERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] if hasattr(signal, "SIGHUP") else []


@pytest.mark.parametrize("ending", ["return", "error", "stop"])
def test_handlers_are_set_while_it_runs_and_given_back_after(ending: str, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in HANDLERS]

    @resumable(store=tmp_path, name="seen")
    def seen(*, job: Any) -> bool:
        now = [signal.getsignal(number) for number in HANDLERS]
        assert all(one != other for one, other in zip(now, before, strict=True))
        for _ in job.loop(range(3)):
            if ending == "error":
                raise LookupError
            if ending == "stop":
                job.request_stop()
        return True

    if ending == "return":
        assert seen()
    else:
        with pytest.raises(LookupError if ending == "error" else Preempted):
            seen()
    assert [signal.getsignal(number) for number in HANDLERS] == before


def test_a_handler_that_was_there_before_is_called_too(program: Program) -> None:
    program.write("""
        def mine(number, frame):
            tell("mine", number)

        signal.signal(signal.SIGTERM, mine)

        @checkpoint.resumable(every="1h")
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                if x == 10:
                    hold("in turn 10")
                s.total += x
            return s.total
    """)
    running = program.start("count(20)").until("in turn 10").send(signal.SIGTERM).until("mine 15")
    assert running.go_on().ended().code == PREEMPTED


THREADED = """
    def body(n, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            time.sleep(0.002)
            s.total += x
        return s.total

    @checkpoint.resumable(every="1h")
    def aside(n, *, job):
        return body(n, job)

    @checkpoint.resumable(every="1h")
    def count(n, *, job):
        s = job.state(total=0)
        for x in job.loop(range(n)):
            time.sleep(0.002)
            s.total += x
            if x == 5:
                tell("both run")
        return s.total

    def ended(call, n):
        try:
            tell("thread", call(n))
        except BaseException as error:
            tell("thread", type(error).__name__)
    """


def test_a_job_in_a_thread_sets_no_handler_and_obeys_request_stop(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in HANDLERS]
    jobs: list[Any] = []
    begun, caught = threading.Event(), []

    @resumable(store=tmp_path, name="aside", every="1h")
    def aside(n: int, *, job: Any) -> None:
        jobs.append(job)
        for _ in job.loop(range(n)):
            begun.set()
            time.sleep(0.001)

    def work() -> None:
        try:
            aside(10**6)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    assert [signal.getsignal(number) for number in HANDLERS] == before
    jobs[0].request_stop()
    thread.join(20)
    assert [type(error) for error in caught] == [Preempted]
    looked: Any = aside
    status = looked.status(10**6)
    assert status is not None and status.status == "preempted"


def test_a_signal_to_the_job_in_the_main_thread_stops_those_in_others_too(
    program: Program,
) -> None:
    program.write(THREADED)
    call = (
        "[t := threading.Thread(target=ended, args=(aside, 10**6)), t.start(),"
        " ended(count, 10**6), t.join()]"
    )
    running = program.start(call).until("both run").send(signal.SIGTERM)
    ended = running.ended()
    assert sorted(ended.told("thread")) == ["Preempted", "Preempted"], ended.text
    assert {each.status for each in program.statuses()} == {"preempted"}


def test_in_a_notebook_it_is_keyboard_interrupt(program: Program) -> None:
    program.write("""
        import types

        class Shell:
            kernel = object()

        sys.modules["IPython"] = types.ModuleType("IPython")
        sys.modules["IPython"].get_ipython = Shell

        @checkpoint.resumable(every="1h")
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                if x == 10:
                    hold("in turn 10")
                s.total += x
            return s.total

        def caught(n):
            try:
                return count(n)
            except BaseException as error:
                return type(error).__name__
    """)
    running = program.start("caught(20)").until("in turn 10").send(signal.SIGTERM)
    assert running.go_on().ended().result() == "KeyboardInterrupt"
    assert program.status().status == "preempted"
    goes_on(program, 11, "caught(20)")


# --- jobs in jobs -----------------------------------------------------------


def test_jobs_in_jobs_all_stop_and_all_go_on(program: Program) -> None:
    program.write("""
        @checkpoint.resumable(every="1h")
        def row(i, n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", 100 * i + x)
                if i == 2 and x == 3:
                    hold("within")
                s.total += x
            return s.total * i

        @checkpoint.resumable(every="1h")
        def rows(n, *, job):
            s = job.state(total=0)
            for i in job.loop(range(n)):
                s.total += row(i, 6)
            return s.total
    """)
    running = program.start("rows(4)").until("within").send(signal.SIGTERM)
    assert running.go_on().ended().code == PREEMPTED
    assert {each.status for each in program.statuses()} >= {"preempted"}
    ended = goes_on(program, 204, "rows(4)", str(15 * 6))
    assert ended.told("turn")[:3] == ["204", "205", "300"]
    assert len(program.statuses()) == 1


# --- before it is ready -----------------------------------------------------


def test_a_signal_before_the_job_has_begun_just_kills_and_nothing_is_lost(
    program: Program,
) -> None:
    counting(program)
    running = program.start("count(20)").until("in turn 10").send(signal.SIGTERM)
    assert running.go_on().ended().code == PREEMPTED
    early = program.start("[hold('early'), count(20)]").until("early").send(signal.SIGTERM)
    assert early.ended().code == -signal.SIGTERM
    goes_on(program, 11)


def test_a_signal_while_it_opens_stops_it_at_the_first_safe_point(program: Program) -> None:
    program.write("""
        class Slow(checkpoint.LocalStore):
            def put(self, key, pieces):
                super().put(key, pieces)
                if key.endswith("@/0000000001.json"):
                    hold("opens")

        @checkpoint.resumable(every="1h", max_attempts=1, store=Slow("store"))
        def count(n, *, job):
            s = job.state(total=0)
            for x in job.loop(range(n)):
                tell("turn", x)
                s.total += x
            return s.total
    """)
    running = program.start("count(20)").until("opens").send(signal.SIGTERM)
    ended = running.go_on().ended()
    assert ended.code == PREEMPTED and ended.told("turn") == ["0"]
    goes_on(program, 1)


def test_a_job_asked_to_stop_twice_stops_once_and_the_next_one_is_not_stopped(
    program: Program,
) -> None:
    counting(program)
    program.folder.joinpath("program.py").write_text(
        program.folder.joinpath("program.py")
        .read_text()
        .replace(
            "if __name__",
            "def both():\n"
            "    try:\n"
            "        count(20)\n"
            "    except checkpoint.Preempted:\n"
            "        tell('stopped')\n"
            "    return count(12)\n\n"
            "if __name__",
        )
    )
    running = program.start("both()").until("in turn 10")
    running.send(signal.SIGTERM).send(signal.SIGTERM).go_on().until("stopped")
    assert running.ended().result() == "66"
