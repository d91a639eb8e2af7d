"""`torture`: programs that are killed at random and started again, until they are done."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from checkpoint.testing import Tortured, torture
from checkpoint.testing._torture import run

# Adds up 0 … 99, and keeps the sum and the next number in a file that it replaces.
SUMMING = """
    import json, os, sys, time
    folder = sys.argv[1]
    state = os.path.join(folder, "state.json")
    print("on the way", file=sys.stderr, flush=True)
    total, start = 0, 0
    if os.path.exists(state):
        with open(state) as file:
            total, start = json.load(file)
    with open(os.path.join(folder, "pids"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    for number in range(start, 100):
        total += number
        time.sleep(0.02)
        with open(state + ".new", "w") as file:
            json.dump([total, number + 1], file)
        os.replace(state + ".new", state)
    print(total)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def command(folder: Path, source: str) -> list[str]:
    """A command that runs *source*, which gets the folder as its argument."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(source))
    return [sys.executable, str(script), str(folder)]


@pytest.mark.parametrize(
    "signals", [(signal.SIGKILL,), (signal.SIGTERM,), (signal.SIGKILL, signal.SIGTERM)]
)
def test_a_program_that_keeps_its_state_is_done_with_the_right_result(
    folder: Path, signals: tuple[int, ...]
) -> None:
    done = torture(
        command(folder, SUMMING), kills=6, signals=signals, between=(0.1, 0.3), timeout=100
    )
    assert done.output == "4950\n"
    assert done.kills == 6
    assert done.attempts == 7 == len(done.codes)
    assert set(done.codes[:-1]) <= {-number for number in signals}
    assert done.codes[-1] == 0
    assert f"attempts 7, kills 6; exit codes {done.codes[0]} " in str(done)


def test_a_program_that_loses_state_is_done_with_another_result(folder: Path) -> None:
    wrong = SUMMING.replace("total, start = json.load(file)", "start = json.load(file)[1]")
    done = torture(command(folder, wrong), kills=3, between=(0.2, 0.4), timeout=100)
    assert done.kills == 3
    assert done.output != "4950\n"


def test_a_program_that_fails_is_told_with_the_last_it_wrote(folder: Path) -> None:
    source = """
        for number in range(30):
            print("line", number)
        raise ValueError("no such luck")
    """
    with pytest.raises(RuntimeError) as caught:
        torture(command(folder, source), between=(50, 50), timeout=100)
    message = str(caught.value)
    assert "attempt 1 failed with exit code 1" in message
    assert message.endswith("ValueError: no such luck")
    assert "line 29\n" in message and "line 2\n" not in message
    assert len(message.splitlines()) == 21


def test_a_program_that_dies_of_what_nobody_sent_has_failed(folder: Path) -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(RuntimeError, match=r"exit code -11; the last it wrote: nothing"):
        torture(command(folder, source), between=(50, 50), timeout=100)


def test_a_program_that_answers_a_signal_with_a_failure_is_told_with_the_signal(
    folder: Path,
) -> None:
    source = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("cannot stop"))
        print("ready", flush=True)
        time.sleep(60)
    """
    with pytest.raises(RuntimeError) as caught:
        torture(command(folder, source), signals=[signal.SIGTERM], between=(0.5, 0.5), timeout=100)
    assert "failed with exit code 1, after SIGTERM" in str(caught.value)
    assert str(caught.value).endswith("ready\ncannot stop")


STOPPING = """
    import os, pathlib, signal, sys, time
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    print("ready", flush=True)
    count = pathlib.Path(sys.argv[1], "count")
    done = int(count.read_text()) if count.exists() else 0
    while done < 80:
        time.sleep(0.02)
        done += 1
        if stop:
            time.sleep(0.2)
            count.write_text(str(done))
            sys.exit({code})
    print(done)
"""


@pytest.mark.parametrize("code", [75, 143])
def test_a_program_that_is_asked_to_stop_may_take_its_time_and_asks_to_be_run_again(
    folder: Path, code: int
) -> None:
    done = torture(
        command(folder, STOPPING.format(code=code)),
        kills=4,
        signals=[signal.SIGTERM],
        between=(0.2, 0.3),
        timeout=100,
    )
    # Minus the signal where it came before the program had looked at its handlers.
    assert set(done.codes[:-1]) <= {code, -signal.SIGTERM} and code in done.codes
    assert done.kills == 4 and done.codes[-1] == 0
    assert done.output == "ready\n80\n"


def test_a_request_to_stop_goes_to_the_program_and_not_to_its_children(folder: Path) -> None:
    source = """
        import os, pathlib, signal, sys, time
        told, begun = pathlib.Path(sys.argv[1], "told"), pathlib.Path(sys.argv[1], "begun")
        if begun.exists():
            sys.exit(0)
        signal.signal(signal.SIGTERM, lambda *_: told.touch())
        if os.fork() == 0:
            time.sleep(60)
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), begun.touch(), os._exit(75)))
        while True:
            time.sleep(60)
    """
    torture(command(folder, source), signals=[signal.SIGTERM], between=(0.4, 0.4), timeout=100)
    assert not (folder / "told").exists()


def test_the_same_seed_draws_the_same_signals() -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(0.8)"]
    codes = [
        torture(sleeping, kills=6, between=(0.01, 0.02), seed=seed, timeout=100).codes
        for seed in (5, 5, 6)
    ]
    assert codes[0] == codes[1] != codes[2]
    assert {*codes[0], *codes[2]} == {-signal.SIGKILL, -signal.SIGTERM, 0}


def test_a_program_that_asks_to_be_run_again_by_itself_is(folder: Path) -> None:
    source = """
        import pathlib, sys
        tries = pathlib.Path(sys.argv[1], "tries")
        tries.write_text("x" + (tries.read_text() if tries.exists() else ""))
        sys.exit(0 if len(tries.read_text()) == 3 else 75)
    """
    done = torture(command(folder, source), between=(50, 50), timeout=100)
    assert done.codes == (75, 75, 0)
    assert done.kills == 0


def test_a_program_that_is_not_done_in_time_is_ended_and_told(folder: Path) -> None:
    source = """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(60)
    """
    for signals in ([signal.SIGTERM], [signal.SIGKILL]):
        kills = int(signals == [signal.SIGTERM])
        with pytest.raises(RuntimeError, match="was not done when the time was up") as caught:
            torture(
                command(folder, source),
                kills=kills,
                signals=signals,
                between=(0.3, 0.3),
                timeout=1,
            )
        assert gone(int(str(caught.value).splitlines()[-1]))


def gone(number: int) -> bool:
    """Whether no process of this number runs; a dead one that nobody reaped does not."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


# Starts a process that outlives it, and tells the numbers of both.
LEAVING = """
    import os, pathlib, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(os.path.join(sys.argv[1], "pids"), "a") as file:
        file.write(f"{os.getpid()} {child.pid}\\n")
    time.sleep(0.8)
    os._exit(0)
"""


def test_nothing_is_left_running(folder: Path) -> None:
    done = torture(command(folder, LEAVING), kills=2, between=(0.4, 0.5), timeout=100)
    numbers = [int(number) for number in (folder / "pids").read_text().split()]
    assert len(numbers) == 6
    assert done.kills == 2
    assert [number for number in numbers if not gone(number)] == []


def test_nothing_is_left_running_when_the_test_itself_is_ended(folder: Path) -> None:
    source = f"""
        import sys
        from checkpoint.testing import torture
        torture({command(folder, LEAVING.replace("time.sleep(0.8)", "time.sleep(60)"))!r}, kills=0)
    """
    test = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)], stderr=subprocess.DEVNULL
    )
    pids = folder / "pids"
    until = time.monotonic() + 60
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < until
        time.sleep(0.01)
    test.send_signal(signal.SIGINT)
    assert test.wait(60) != 0
    assert [number for number in pids.read_text().split() if not gone(int(number))] == []


def test_a_program_that_starts_slowly_is_given_longer(folder: Path) -> None:
    source = """
        import sys, time
        time.sleep(0.5)
        print("begun", flush=True)
        time.sleep(0.5)
    """
    done = torture(
        command(folder, source), kills=9, signals=[signal.SIGKILL], between=(0.1, 0.1), timeout=100
    )
    # 0.1, 0.2, 0.4 s: without a word.  Then 0.8 s, and it has begun.
    assert done.kills == 9
    assert done.seconds > 3 * (0.1 + 0.2 + 0.4)
    assert done.output == "begun\n"


MODULE = """
    import os, pathlib, sys, time

    def work(folder="{folder}"):
        state = pathlib.Path(folder, "state")
        for number in range(int(state.read_text()) if state.exists() else 0, 40):
            time.sleep(0.02)
            fresh = pathlib.Path(folder, "fresh")
            fresh.write_text(str(number + 1))
            os.replace(fresh, state)
        print(folder, state.read_text())

    def broken():
        raise ValueError("broken")
"""


def test_a_function_is_called_in_fresh_interpreters(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tortured_work.py").write_text(textwrap.dedent(MODULE.format(folder=folder)))
    other = folder / "other"
    other.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    import tortured_work  # type: ignore[import-not-found,unused-ignore]

    for target, where in [
        (tortured_work.work, folder),
        (functools.partial(tortured_work.work, str(other)), other),
    ]:
        done = torture(target, kills=2, between=(0.2, 0.3), timeout=100)
        assert done.output == f"{where} 40\n"
        assert done.kills == 2
    with pytest.raises(RuntimeError, match="ValueError: broken"):
        torture(tortured_work.broken, between=(50, 50), timeout=100)


def test_a_function_that_no_other_process_finds_is_refused() -> None:
    def local() -> None: ...

    with pytest.raises(ValueError, match="cannot be found by another process"):
        torture(local)
    with pytest.raises(ValueError, match="cannot be found by another process"):
        torture(lambda: None)
    source = """
        from checkpoint.testing import torture
        def work(): pass
        torture(work)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, check=False
    )
    assert "is of the program itself, which another process cannot import" in ended.stderr


def test_the_environment_and_the_folder_are_those_given(folder: Path) -> None:
    source = "import os; print(os.getcwd(), os.environ['TORTURED'])"
    done = torture(
        command(folder, source), kills=0, env={**os.environ, "TORTURED": "yes"}, cwd=folder
    )
    assert done.output == f"{folder.resolve()} yes\n"
    assert done == Tortured(1, 0, (0,), done.output, done.seconds)


def test_what_cannot_be_meant_is_refused() -> None:
    for bad, message in [
        ({"kills": -1}, "kills must be at least 0"),
        ({"signals": ()}, "at least one signal"),
        ({"between": (0.5, 0.1)}, "two times in order"),
    ]:
        with pytest.raises(ValueError, match=message):
            torture([sys.executable], **bad)  # type: ignore[arg-type]
    for words in ("python", []):
        with pytest.raises(ValueError, match="a sequence of its words"):
            torture(words)


def test_the_command_tells_each_attempt_and_the_end(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--kills", "2", "--signals", "KILL", "--between", "0.2,0.3", "--seed", "3"]
    assert run([*options, "--", *command(folder, SUMMING)]) == 0
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first.startswith("attempt 1: SIGKILL after 0.")
    assert second.startswith("attempt 2: SIGKILL after 0.")
    assert first.endswith(" s, exit code -9")
    assert third.startswith("attempt 3: ") and third.endswith(" s, exit code 0")
    assert last.startswith("done in ") and last.endswith("kills 2; exit codes -9 -9 0")


def test_the_command_is_1_for_a_program_that_fails_or_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--between", "50,50", "--", *command(folder, "raise SystemExit('sad')")]) == 1
    said = capsys.readouterr()
    assert said.err.endswith("attempt 1 failed with exit code 1; the last it wrote:\nsad\n")
    assert said.out.splitlines()[-1].endswith("exit code 1")
    assert run(["--", str(folder / "nothing")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert run(["--kills", "-1", "--", "true"]) == 1
    assert "kills must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["--"], ["--signals", "NO", "--", "x"], ["--between", "soon", "--", "x"]]
)
def test_the_command_is_2_for_options_that_cannot_be_read(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == 2
