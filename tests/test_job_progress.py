"""Bars of tqdm and rich under a resumed loop, bars of our own, and the line on a resume."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest
import tqdm
import tqdm.asyncio
import tqdm.auto
from rich.console import Console
from rich.progress import Progress, track

import checkpoint
from checkpoint._jobs.progress import adopt, resumed_line, span_text


class Resumed:
    """A loop over range(total) that goes on at a position, as `job.loop` does."""

    def __init__(self, total: int, position: int, pause: float = 0.0) -> None:
        self.total, self.position, self.pause = total, position, pause
        self.adopted: bool | None = None
        self.taken = position

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        frame = sys._getframe(1)
        self.adopted = adopt(frame, self.position)
        del frame
        for item in range(self.position, self.total):
            self.taken = item + 1
            yield item
            time.sleep(self.pause)


def shown(out: io.StringIO) -> list[str]:
    """The counts that a bar of tqdm has drawn, in order, each once."""
    counts = re.findall(r"(\d+/\d+) \[", out.getvalue())
    return [now for now, before in zip(counts, [None, *counts], strict=False) if now != before]


def test_a_bar_of_tqdm_starts_at_the_position_and_ends_at_all() -> None:
    out = io.StringIO()
    loop = Resumed(10, 6)
    bar = tqdm.tqdm(loop, file=out, mininterval=0, miniters=1, ascii=True)
    assert list(bar) == [6, 7, 8, 9]
    assert loop.adopted is True
    # The first is drawn when the bar is made, before anybody asks the loop.
    assert shown(out) == ["0/10", "6/10", "7/10", "8/10", "9/10", "10/10"]
    assert "100%" in out.getvalue().rpartition("\r")[2]
    assert bar.n == 10


def test_a_bar_of_tqdm_tells_the_rate_of_this_attempt_alone() -> None:
    out = io.StringIO()
    bar = tqdm.tqdm(Resumed(10_000, 9_960, 0.005), file=out, mininterval=0, miniters=1)
    for item in bar:
        if item == 9_990:
            middle = bar.format_dict
            text = str(bar)
    # 30 items of 5 ms or more each: less than 200 a second, not the 66,000 of all.
    assert middle["n"] == 9_990 and middle["initial"] == 9_960
    assert 0 < middle["rate"] <= 200
    assert "9990/10000 [" in text
    assert bar.format_dict["n"] - bar.format_dict["initial"] == 40
    last = out.getvalue().rpartition("\r")[2]
    rate = re.search(r"10000/10000 \[\d\d:\d\d<00:00, +([\d.]+)it/s", last)
    assert rate is not None and float(rate[1]) <= 200


def test_a_bar_of_tqdm_says_how_long_the_rest_takes_at_the_rate_of_this_attempt() -> None:
    out = io.StringIO()
    for item in tqdm.tqdm(Resumed(10_000, 2_000, 0.005), file=out, mininterval=0, smoothing=0):
        if item == 2_040:
            break
    # 7,960 items of 5 ms and more: 40 s or later; at the rate of all it were 0 s.
    left = re.findall(r"\[\d\d:\d\d<(\d\d):(\d\d)", out.getvalue())
    assert int(left[-1][0]) * 60 + int(left[-1][1]) >= 39


def test_a_bar_of_tqdm_that_was_left_early_shows_what_was_done() -> None:
    out = io.StringIO()
    for item in tqdm.tqdm(Resumed(10, 6), file=out, mininterval=1000):
        if item == 8:
            break
    assert shown(out)[-1] == "8/10"
    assert out.getvalue().endswith("\n")


def test_a_bar_of_tqdm_that_draws_seldom_still_ends_at_all() -> None:
    out = io.StringIO()
    list(tqdm.tqdm(Resumed(1_000, 400), file=out, mininterval=1000))
    assert shown(out) == ["0/1000", "400/1000", "1000/1000"]


def test_a_bar_of_tqdm_with_words_and_updates_of_its_own_goes_on_working() -> None:
    out = io.StringIO()
    bar = tqdm.tqdm(Resumed(10, 6), file=out, mininterval=0, miniters=1, leave=False)
    for item in bar:
        bar.set_description(f"item {item}")
        bar.set_postfix(loss=item)
    assert "item 9:  90%" in out.getvalue()
    assert "loss=9" in out.getvalue()


def test_a_bar_of_tqdm_that_was_told_where_it_starts_is_not_told_twice() -> None:
    out = io.StringIO()
    list(tqdm.tqdm(Resumed(10, 6), file=out, initial=6, mininterval=0, miniters=1))
    assert shown(out) == ["6/10", "7/10", "8/10", "9/10", "10/10"]


def test_a_bar_of_tqdm_that_begins_elsewhere_goes_on_from_there() -> None:
    out = io.StringIO()
    list(tqdm.tqdm(Resumed(10, 6), file=out, initial=100, total=110, mininterval=0, miniters=1))
    assert shown(out) == ["100/110", "106/110", "107/110", "108/110", "109/110", "110/110"]


def test_a_bar_of_tqdm_that_is_reset_counts_from_nought() -> None:
    out = io.StringIO()
    bar = tqdm.tqdm(Resumed(10, 6), file=out)
    for _ in bar:
        bar.reset(total=20)
        break
    assert shown(out)[-1] == "0/20"


def test_bars_that_are_new_or_off_are_known_and_left_alone() -> None:
    out = io.StringIO()
    new, off = Resumed(3, 0), Resumed(10, 6)
    assert list(tqdm.tqdm(new, file=out)) == [0, 1, 2]
    assert shown(out) == ["0/3", "3/3"]
    assert list(tqdm.tqdm(off, disable=True)) == [6, 7, 8, 9]
    assert new.adopted is off.adopted is True


def test_bars_of_tqdm_auto_and_of_subclasses_are_known() -> None:
    class Mine(tqdm.tqdm):  # type: ignore[misc,unused-ignore,type-arg]
        pass

    for kind in (tqdm.auto.tqdm, tqdm.asyncio.tqdm, Mine):
        out = io.StringIO()
        bar = kind(Resumed(10, 6), file=out)
        assert list(bar) == [6, 7, 8, 9]
        assert shown(out) == ["0/10", "6/10", "10/10"]
        assert isinstance(bar, kind)


def test_a_bar_of_tqdm_under_async_for_starts_at_the_position() -> None:
    out = io.StringIO()
    loop = Resumed(10, 6)

    async def work() -> list[int]:
        return [item async for item in tqdm.asyncio.tqdm(loop, file=out)]

    assert asyncio.run(work()) == [6, 7, 8, 9]
    assert loop.adopted is True
    assert shown(out)[-1] == "10/10"


def test_a_bar_of_tqdm_drawn_by_rich_starts_at_the_position() -> None:
    import tqdm.rich

    out = io.StringIO()
    console = Console(file=out, width=120)
    with pytest.warns(tqdm.TqdmExperimentalWarning):
        bar = tqdm.rich.tqdm(Resumed(10, 6), options={"console": console}, mininterval=0)
    counts = [bar._prog.tasks[0].completed for _ in bar]
    assert counts == [6, 7, 8, 9]
    assert "10/10" in out.getvalue()


def test_a_bar_of_tqdm_in_a_notebook_starts_at_the_position() -> None:
    pytest.importorskip("ipywidgets")
    import tqdm.notebook

    bar = tqdm.notebook.tqdm(Resumed(10, 6), display=False, mininterval=0, miniters=1)
    widget = bar.container.children[1]
    counts = [widget.value for _ in bar]
    assert counts == [6, 7, 8, 9]
    assert widget.value == 10
    assert widget.bar_style == "success"
    assert "10/10" in bar.container.children[2].value


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("auto_refresh", [True, False])
def test_a_bar_of_rich_starts_at_the_position_and_ends_at_all(auto_refresh: bool) -> None:
    out = io.StringIO()
    loop = Resumed(1_000, 400, 0.0005)
    progress = Progress(
        auto_refresh=auto_refresh, console=Console(file=out, force_terminal=True, width=120)
    )
    with progress:
        counts = [progress.tasks[0].completed for _ in progress.track(loop, update_period=0.001)]
    assert loop.adopted is True
    assert counts[0] == 400
    assert counts == sorted(counts) and 400 < counts[-1] <= 999
    assert progress.tasks[0].completed == 1_000
    percents = [int(each) for each in re.findall(r"(\d+)%", out.getvalue())]
    assert percents[-1] == 100 and 40 in percents
    assert not [each for each in percents if 0 < each < 40]


def test_a_bar_of_rich_says_how_long_the_rest_takes_at_the_rate_of_this_attempt() -> None:
    clock = Clock()
    progress = Progress(
        auto_refresh=False, get_time=clock, console=Console(file=io.StringIO(), width=120)
    )
    clock.now = 5.0
    for item in progress.track(Resumed(100, 60)):
        clock.now += 2.0
        if item == 70:
            break
    task = progress.tasks[0]
    assert task.completed == 70
    assert task.speed == 0.5
    assert task.time_remaining == 60


def test_the_thread_of_a_bar_of_rich_counts_this_attempt_alone() -> None:
    progress = Progress(console=Console(file=io.StringIO(), width=120))
    with progress:
        for item in progress.track(Resumed(100_000, 99_900, 0.004), update_period=0.01):
            if item == 99_950:
                break
            # Never the 99,900 that others did: 250 a second, and what a slow thread bunches.
            assert (progress.tasks[0].speed or 0) < 2_000
    assert progress.tasks[0].completed == 99_950


def test_the_track_function_of_rich_starts_at_the_position() -> None:
    out = io.StringIO()
    loop = Resumed(10, 6)
    console = Console(file=out, force_terminal=True, width=120)
    assert list(track(loop, console=console)) == [6, 7, 8, 9]
    assert loop.adopted is True
    assert "60%" in out.getvalue()
    assert "100%" in out.getvalue().rpartition("%")[0][-20:] + "%"


def test_bars_of_rich_that_are_new_or_off_are_known_and_left_alone() -> None:
    new, off = Resumed(3, 0), Resumed(10, 6)
    assert list(track(new, console=Console(file=io.StringIO()))) == [0, 1, 2]
    assert list(track(off, disable=True)) == [6, 7, 8, 9]
    assert new.adopted is off.adopted is True


def test_frames_of_anything_else_are_foreign() -> None:
    def through(items: Resumed) -> Iterator[int]:
        yield from items

    for take in (list, through):
        loop = Resumed(3, 1)
        assert list(take(loop)) == [1, 2]
        assert loop.adopted is False


def script(source: str) -> str:
    """What a program without tqdm or rich, or with one of them, writes to stderr."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], stderr=subprocess.PIPE, check=True
    )
    return run.stderr.decode()


WITHOUT = """
    import sys
    for name in {names!r}:
        sys.modules[name] = None
    from checkpoint._jobs import progress
    class Terminal:
        def isatty(self): return {terminal}
        def write(self, text): return sys.__stderr__.write(text)
        def flush(self): pass
    {before}
    items = iter(range(6, 10))
    for item in progress.with_bar(items, total={total}, position=6, description="etl[bold]"):
        assert items.__length_hint__() == 9 - item, "it takes items before they are asked for"
        {body}
"""


def test_progress_is_shown_by_tqdm_where_it_is_installed() -> None:
    text = script(WITHOUT.format(names=["rich"], terminal=True, before="", total=10, body=""))
    assert "etl[bold]:  60%" in text
    assert "etl[bold]: 100%" in text and "10/10" in text


def test_progress_is_shown_by_rich_where_tqdm_is_not_installed() -> None:
    text = script(
        WITHOUT.format(names=["tqdm", "tqdm.auto"], terminal=True, before="", total=10, body="")
    )
    assert "etl[bold]" in text and "100%" in text
    assert "[bold]" in text


NEITHER = ["tqdm", "tqdm.auto", "rich", "rich.progress"]


def test_progress_is_one_line_where_neither_is_installed() -> None:
    before = "sys.stderr = Terminal(); progress._PAUSE = 0"
    text = script(
        WITHOUT.format(
            names=NEITHER,
            terminal=True,
            before=before,
            total=10,
            body="import time; time.sleep(0.1)",
        )
    )
    lines = [line.strip() for line in text.split("\r")]
    assert [re.sub(r"\d+ ms", "N", line) for line in lines] == [
        "",
        "etl[bold]: 7 of 10 (70%), N left",
        "etl[bold]: 8 of 10 (80%), N left",
        "etl[bold]: 9 of 10 (90%), N left",
        "etl[bold]: 10 of 10 (100%)",
        "etl[bold]: 10 of 10 (100%)",
    ]
    # One of this attempt takes 100 ms; 3 are left, and 7 are done, 6 of them before.
    left = re.search(r"(\d+) ms", lines[1])
    assert left is not None and int(left[1]) >= 300
    assert text.endswith("\n")


def test_the_one_line_is_shown_at_most_once_a_second_and_at_the_end() -> None:
    text = script(
        WITHOUT.format(
            names=NEITHER, terminal=True, before="sys.stderr = Terminal()", total=10, body=""
        )
    )
    assert text == "\retl[bold]: 10 of 10 (100%)\n"


def test_the_one_line_is_shown_on_a_terminal_only_and_needs_no_total() -> None:
    before = "sys.stderr = Terminal()"
    for terminal, expected in [(False, ""), (True, "\retl[bold]: 10\n")]:
        source = WITHOUT.format(
            names=NEITHER, terminal=terminal, before=before, total=None, body=""
        )
        assert script(source) == expected


@pytest.mark.parametrize("names", [[], ["tqdm", "tqdm.auto"], NEITHER])
def test_a_bar_is_closed_when_its_loop_is_left(names: list[str]) -> None:
    before = "sys.stderr = Terminal()" if names is NEITHER else ""
    for ending in ("break", "raise SystemExit"):
        body = f"if item == 8: print(end='', file=sys.__stderr__, flush=True); {ending}"
        source = WITHOUT.format(names=names, terminal=True, before=before, total=10, body=body)
        text = script(source.replace("raise SystemExit", "sys.exit()"))
        assert text.endswith("\n")
        assert re.search("8/10|8 of 10|80%", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (-1, "0 ms"),
        (0.35, "350 ms"),
        (0.9996, "1 s"),
        (12.4, "12 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (8040, "2 h 14 min"),
        (86399, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_span_of_time_is_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_a_resume_is_one_line_that_says_what_is_kept() -> None:
    assert resumed_line("train(n=100, lr=0.1)", "4,521 of 10,000", 8040) == (
        "checkpoint: train(n=100, lr=0.1) goes on at 4,521 of 10,000; 2 h 14 min of work are kept"
    )


# --- around a job's loop ------------------------------------------------------


def barred(n: int, *, job: checkpoint.Job) -> int:
    s = job.state(sum=0)
    for x in tqdm.std.tqdm(job.loop(range(n), name="std"), file=io.StringIO()):
        s.sum += x
    for x in tqdm.auto.tqdm(job.loop(range(n), name="auto"), file=io.StringIO()):
        s.sum += x
        if x == 3 and job.attempt == 1:
            raise RuntimeError("killed")
    for x in track(job.loop(range(n), name="rich"), console=quiet()):
        s.sum += x
    for x in job.loop(range(n), name="own", progress=True):
        s.sum += x
    return int(s.sum)


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_a_loop_in_any_bar_goes_on_where_it_stopped() -> None:
    going = checkpoint.resumable(
        barred, store=checkpoint.MemoryStore(), name="barred", every=1, unsaved=()
    )
    with pytest.raises(RuntimeError, match="killed"):
        going(6)
    assert going(6) == 4 * 15
