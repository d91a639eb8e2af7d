"""What a person sees of a job: bars that go on where they stopped, and one line on a resume.

tqdm and rich count what they are given, from nought.  A resumed loop would be
shown as begun anew; told that so much is done already, its rate as far too high.
So the position is added where a bar is *shown*: it counts and times this attempt.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import CodeType, FrameType
from typing import Any, TypeVar

from attrs import define

T = TypeVar("T")

# Seconds between two looks of the plain line.
_PAUSE = 1.0


def adopt(frame: FrameType, position: int) -> bool:
    """Whether *frame*, which takes a loop's first item, belongs to a bar of tqdm or rich.

    Such a bar takes one item at a time.  It goes on at *position*, and its rate and
    the time it says is left are those of this attempt.
    """
    if frame.f_code in _tqdm_codes():
        _adopt_tqdm(frame.f_locals["self"], position)
        return True
    rich: Any = sys.modules.get("rich.progress")
    if rich is not None and frame.f_code is rich.Progress.track.__code__:
        _adopt_rich(frame.f_locals, position)
        return True
    return False


def with_bar(
    items: Iterator[T], *, total: int | None, position: int, description: str
) -> Iterator[T]:
    """*items*, each taken when it is asked for, under a bar on stderr.

    It is tqdm's, else rich's; without them it is one line, and that only on a terminal.
    """
    try:
        auto = import_module("tqdm.auto")
    except ImportError:
        yield from _with_rich(items, total, position, description)
        return
    yield from auto.tqdm(items, total=total, initial=position, desc=description)


def resumed_line(title: str, position: str, worked: float) -> str:
    """What to say when a job goes on: where, and how many seconds of work are kept."""
    return f"checkpoint: {title} goes on at {position}; {span_text(worked)} of work are kept"


def span_text(seconds: float) -> str:
    """A span of time as a person says it, in two units at most: `3 min 20 s`."""
    if seconds < 0.9995:
        return f"{1000 * max(seconds, 0):.0f} ms"
    if (count := round(seconds)) < 60:
        return f"{count} s"
    if count < 60 * 60:
        return _two_units(count, 60, "min", "s")
    if (count := round(seconds / 60)) < 24 * 60:
        return _two_units(count, 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(count: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def _tqdm_codes() -> list[CodeType]:
    """The functions of tqdm that take items, of what is imported of it."""
    codes = []
    if (std := sys.modules.get("tqdm.std")) is not None:
        codes.append(std.tqdm.__iter__.__code__)
    if (asyncio := sys.modules.get("tqdm.asyncio")) is not None:
        codes.append(asyncio.tqdm_asyncio.__anext__.__code__)
    return codes


def _adopt_tqdm(bar: Any, position: int) -> None:
    # One whose `initial` is the position was told already.
    if bar.disable or position in (0, bar.initial):
        return
    # `__iter__` has read the bar's counter by now, and writes it back at the end: only
    # what is shown can still be changed, and that is a property of the class.
    kind: Any = type(bar)
    bar.__class__ = _resumed(kind)
    bar.skipped = position
    if hasattr(bar, "_prog"):  # A bar of tqdm that rich draws.
        bar._prog.reset(bar._task_id, completed=bar.n + position)
        bar._prog = _Ahead(bar._prog, position)
    if bar.delay <= 0:
        bar.refresh(lock_args=bar.lock_args)


@cache
def _resumed(kind: Any) -> type:
    """The class of bars of *kind* that show `skipped` more than they counted."""

    class Resumed(kind):  # type: ignore[misc]
        skipped = 0

        @property
        def format_dict(self) -> Any:
            shown = super().format_dict
            shown["n"] += self.skipped
            shown["initial"] += self.skipped
            return shown

        def display(self, *args: Any, **named: Any) -> Any:
            done = super().display(*args, **named)
            if hasattr(self, "container"):  # The widgets of a notebook.
                self.container.children[1].value = self.n + self.skipped
            return done

        def reset(self, total: Any = None) -> None:
            self._skip(0)
            super().reset(total)

        def close(self) -> None:
            if not self.disable:  # Its loop is over: now the counter can be told.
                self.n += self.skipped
                self.initial += self.skipped
                self._skip(0)
            super().close()

        def _skip(self, count: int) -> None:
            self.skipped = count
            if hasattr(self, "_prog"):
                self._prog.skipped = count

    Resumed.__name__, Resumed.__qualname__ = kind.__name__, kind.__qualname__
    Resumed.__module__ = kind.__module__
    return Resumed


def _adopt_rich(names: Any, position: int) -> None:
    """Tell the bar whose `Progress.track` has the locals *names*."""
    if not position:
        return
    progress = names["self"]
    # The samples that rate and time left are made of begin anew.
    progress.reset(names["task_id"], completed=position)
    # The thread that draws adds what is new, and at the end sets what it counted itself.
    if (thread := names.get("track_thread")) is not None:
        thread.progress = _Ahead(progress, position)


@define
class _Ahead:
    """A `Progress` of rich for one that counts this attempt only."""

    progress: Any
    skipped: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.progress, name)

    def __exit__(self, *error: object) -> None:
        self.progress.__exit__(*error)

    def update(self, task_id: Any, *, completed: float, **named: Any) -> None:
        self.progress.update(task_id, completed=completed + self.skipped, **named)


def _with_rich(
    items: Iterator[T], total: int | None, position: int, description: str
) -> Iterator[T]:
    try:
        rich = import_module("rich.progress")
    except ImportError:
        yield from _with_line(items, total, position, description)
        return
    yield from rich.track(
        _from(items, position),
        import_module("rich.markup").escape(description),
        total,
        console=import_module("rich.console").Console(stderr=True),
    )


def _from(items: Iterator[T], position: int) -> Iterator[T]:
    """*items*; whoever takes the first is told that they begin at *position*."""
    adopt(sys._getframe(1), position)
    yield from items


def _with_line(
    items: Iterator[T], total: int | None, position: int, description: str
) -> Iterator[T]:
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    line = _Line(description, total, position, time.monotonic())
    done = position
    told = line.began
    try:
        for item in items:
            yield item
            done += 1
            if (now := time.monotonic()) >= told + _PAUSE:
                line.show(done, now)
                told = now
    finally:
        line.show(done, time.monotonic())
        sys.stderr.write("\n")


@define
class _Line:
    """Progress on one line of a terminal, written over again and again."""

    description: str
    total: int | None
    position: int
    began: float
    width: int = 0

    def show(self, done: int, now: float) -> None:
        """Say that *done* items of all are done at the time *now*."""
        text = self._text(done, now - self.began)[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + text.ljust(self.width))
        sys.stderr.flush()
        self.width = len(text)

    def _text(self, done: int, elapsed: float) -> str:
        if not self.total:
            return f"{self.description}: {done:,}"
        text = f"{self.description}: {done:,} of {self.total:,} ({done / self.total:.0%})"
        here = done - self.position
        if here and done < self.total:
            text += f", {span_text((self.total - done) * elapsed / here)} left"
        return text
