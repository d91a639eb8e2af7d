"""State that a resume would lose is found when a function is decorated, and nothing else is."""

from __future__ import annotations

import importlib.util
import itertools
import re
import textwrap
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from checkpoint._jobs.unsaved import MAX_PROBLEMS, check
from checkpoint.errors import UnsavedStateError

numbers = itertools.count()


def function_of(source: str, folder: Path, name: str = "f") -> Callable[..., Any]:
    """Import a module of *source* from a real file, and give its function."""
    path = folder / f"program{next(numbers)}.py"
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[return-value]


def problems(source: str, folder: Path, unsaved: Collection[str] = ()) -> list[str]:
    """The lines of the error that `check` raises, or none."""
    try:
        check(function_of(source, folder), unsaved=unsaved)
    except UnsavedStateError as error:
        return str(error).splitlines()
    return []


def marked(source: str) -> int:
    """The line with the mark; lines count from 1, the first being empty."""
    return next(at for at, line in enumerate(source.splitlines(), 1) if line.endswith("# <-"))


# Each: a function, of which one line is marked; what its message says.
CARRIED = {
    "a sum": (
        """
        def f(xs, *, job):
            total = 0
            for x in job.loop(xs):
                total += x  # <-
        """,
        "carries 'total' .* s = job.state\\(total=0\\) and s.total, or say unsaved=\\('total',\\)",
    ),
    "a sum that is read after the loop, too": (
        """
        def f(xs, *, job):
            total = 0
            for x in job.loop(xs):
                total += x  # <-
            return total
        """,
        r"carries 'total'",
    ),
    "not the first assignment": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                if not x:
                    n = 0
                n += x  # <-
        """,
        r"'n'",
    ),
    "an inner turn that is cut short": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                for y in x:
                    if y:
                        continue
                    last = y  # <-
                print(last)
        """,
        r"'last'",
    ),
    "an own assignment": (
        """
        def f(xs, *, job):
            best = float("inf")
            for x in job.loop(xs):
                best = min(best, x)  # <-
        """,
        r"'best' .* s = job.state\(best=float\('inf'\)\) and s.best",
    ),
    "a conditional assignment": (
        """
        def f(xs, *, job):
            best = None
            for x in job.loop(xs):
                if x > 3:
                    best = x  # <-
                print(best)
        """,
        r"'best' .* job.state\(best=None\)",
    ),
    "the one before": (
        """
        def f(xs, *, job):
            s = job.state(n=0)
            last = 0
            for x in job.loop(xs):
                s.n += x - last
                last = x  # <-
        """,
        r"'last' .* s = job.state\(\.\.\., last=0\) and s.last",
    ),
    "a flag of the first turn": (
        """
        def f(xs, *, job):
            for i in job.loop(xs):
                if i == 0:
                    start = i  # <-
                print(i - start)
        """,
        r"'start'",
    ),
    "a parameter": (
        """
        def f(lr, *, job):
            for _ in job.loop(range(3)):
                lr *= 0.9  # <-
        """,
        r"'lr' .* job.state\(lr=lr\)",
    ),
    "a global": (
        """
        count = 0
        def f(xs, *, job):
            global count
            for x in job.loop(xs):
                count += x  # <-
        """,
        r"'count'",
    ),
    "an alias that is assigned anew": (
        """
        def f(xs, *, job):
            s = job.state(best=0)
            best = s.best
            for x in job.loop(xs):
                best = max(best, x)  # <-
        """,
        r"'best' .* s = job.state\(\.\.\., best=s.best\)",
    ),
    "a walrus": (
        """
        def f(xs, *, job):
            n = 0
            for x in job.loop(xs):
                if (n := n + x) > 3:  # <-
                    print(n)
        """,
        r"'n'",
    ),
    "a walrus of a comprehension": (
        """
        def f(xs, *, job):
            n = 0
            for x in job.loop(xs):
                print([n := n + y for y in x])  # <-
        """,
        r"'n'",
    ),
    "an inner loop that may have no turn": (
        """
        def f(xs, *, job):
            last = None
            for x in job.loop(xs):
                for y in x:
                    last = y  # <-
                print(last)
        """,
        r"'last'",
    ),
    "a while of its own": (
        """
        def f(xs, *, job):
            n = 0
            for x in job.loop(xs):
                while n < x:
                    n += 1  # <-
        """,
        r"'n'",
    ),
    "a handler that lets an old value stand": (
        """
        def f(xs, *, job):
            s = job.state(total=0)
            for x in job.loop(xs):
                try:
                    y = int(x)  # <-
                except ValueError:
                    print("bad")
                s.total += y
        """,
        r"'y'",
    ),
    "a suppressed error": (
        """
        from contextlib import suppress
        def f(xs, *, job):
            s = job.state(total=0)
            y = 0
            for x in job.loop(xs):
                with suppress(ValueError):
                    y = int(x)  # <-
                s.total += y
        """,
        r"'y'",
    ),
    "a match without a default": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                match x:
                    case {"kind": kind}:  # <-
                        pass
                print(kind)
        """,
        r"'kind'",
    ),
    "continue before the assignment": (
        """
        def f(xs, *, job):
            last = None
            for x in job.loop(xs):
                if x == last:
                    continue
                last = x  # <-
        """,
        r"'last'",
    ),
    "a lambda": (
        """
        def f(xs, *, job):
            seen = 0
            for x in job.loop(xs):
                x.map(lambda y: y + seen)
                seen = x  # <-
        """,
        r"'seen'",
    ),
    "a nested function with nonlocal": (
        """
        def f(xs, *, job):
            n = 0
            def more():
                nonlocal n
                n += 1
            for x in job.loop(xs):
                more()  # <-
        """,
        r"'n'",
    ),
    "an inner job.loop": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                total = 0
                for y in job.loop(x):
                    total += y  # <-
        """,
        r"'total' .* job.state\(",
    ),
    "the outer of two": (
        """
        def f(xs, *, job):
            total = 0
            for x in job.loop(xs):
                for y in job.loop(x):
                    print(y)
                total += 1  # <-
        """,
        r"'total'",
    ),
    "a wrapped loop": (
        """
        def f(xs, *, job):
            total = 0
            for x in tqdm.auto.tqdm(job.loop(xs), desc="x"):
                total += x  # <-
        """,
        r"'total'",
    ),
    "the job of the context": (
        """
        def f(xs):
            run = checkpoint.current_job()
            total = 0
            for x in run.loop(xs):
                total += x  # <-
        """,
        r"'total' .* s = run.state\(total=0\)",
    ),
}

AFTER = {
    "a value of the last turn": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                y = x + 1
            return y  # <-
        """,
        r"reads 'y' after the loop .* s = job.state\(y=None\) and s.y",
    ),
    "the target": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                print(x)
            return x  # <-
        """,
        r"'x'",
    ),
    "after a break": (
        """
        def f(xs, *, job):
            found = None
            for x in job.loop(xs):
                if x > 3:
                    found = x
                    break
            return found  # <-
        """,
        r"'found' .* job.state\(found=None\)",
    ),
    "after an inner loop": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                for y in job.loop(x):
                    loss = y
                print(loss)  # <-
        """,
        r"'loss'",
    ),
    "in one way only": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                y = x
            if xs:
                y = 0
            return y  # <-
        """,
        r"'y'",
    ),
    "in a function called after it": (
        """
        def f(xs, *, job):
            def report():
                print(y)
            for x in job.loop(xs):
                y = x
            report()  # <-
        """,
        r"'y'",
    ),
    "after an error that is caught": (
        """
        def f(xs, *, job):
            y = 0
            try:
                for x in job.loop(xs):
                    y = x
            except ValueError:
                pass
            return y  # <-
        """,
        r"'y'",
    ),
}

CHANGED = {
    "an item": (
        """
        def f(xs, *, job):
            seen = {}
            for x in job.loop(xs):
                seen[x] = True  # <-
        """,
        r"changes 'seen' in place.* s = job.state\(seen=\{\}\) and s.seen",
    ),
    "an attribute of a parameter": (
        """
        def f(model, *, job):
            for _ in job.loop(range(3)):
                model.steps += 1  # <-
        """,
        r"'model' .* job.state\(model=model\)",
    ),
    "an item deep within": (
        """
        def f(xs, *, job):
            table = make()
            for x in job.loop(xs):
                table.rows[x].n += 1  # <-
        """,
        r"'table' .* job.state\(table=make\(\)\)",
    ),
    "a deletion": (
        """
        def f(left, *, job):
            for x in job.loop(range(3)):
                del left[x]  # <-
        """,
        r"'left'",
    ),
    "append": (
        """
        def f(xs, *, job):
            out: list[int] = []
            for x in job.loop(xs):
                out.append(x)  # <-
        """,
        r"'out' .* job.state\(out=\[\]\)",
    ),
    "a deque": (
        """
        def f(xs, *, job):
            last = collections.deque(maxlen=3)
            for x in job.loop(xs):
                last.appendleft(x)  # <-
        """,
        r"'last' .* job.state\(last=collections.deque\(maxlen=3\)\)",
    ),
    "a list in a dict": (
        """
        def f(xs, *, job):
            by = {"a": []}
            for x in job.loop(xs):
                by["a"].append(x)  # <-
        """,
        r"'by'",
    ),
    "a copy of the state": (
        """
        def f(xs, *, job):
            s = job.state(seen=set)
            seen = set(s.seen)
            for x in job.loop(xs):
                seen.add(x)  # <-
        """,
        r"'seen'",
    ),
    "made in the outer loop, changed in the inner": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                losses = []
                for y in job.loop(x):
                    losses.append(y)  # <-
        """,
        r"'losses'",
    ),
    "the position of an iterator": (
        """
        def f(loader, *, job):
            batches = iter(loader)
            for _ in job.loop(range(9)):
                print(next(batches))  # <-
        """,
        r"'batches' .* job.state\(batches=iter\(loader\)\)",
    ),
}

TWICE = {
    "an augmented assignment": (
        """
        def f(xs, *, job):
            s = job.state(phase=0)
            s.phase += 1  # <-
            for x in job.loop(xs):
                pass
        """,
        r"again to the restored state; do it in job.step\(\.\.\.\), in the body",
    ),
    "an assignment from itself": (
        """
        def f(xs, *, job):
            s = job.state(lr=1.0)
            s.lr = s.lr * 0.9  # <-
            for x in job.loop(xs):
                pass
        """,
        r"job.step",
    ),
    "between two loops": (
        """
        def f(xs, *, job):
            s = job.state(log=list)
            for x in job.loop(xs):
                pass
            s.log.append("half")  # <-
            for x in job.loop(xs):
                pass
        """,
        r"job.step",
    ),
    "before an inner loop": (
        """
        def f(xs, *, job):
            s = job.state(epochs=0)
            for x in job.loop(xs):
                s.epochs += 1  # <-
                for y in job.loop(x):
                    pass
        """,
        r"job.step",
    ),
    "an item taken": (
        """
        def f(xs, *, job):
            s = job.state(left=list)
            left = s.left
            with open("x") as file:
                first = left.pop()  # <-
                for x in job.loop(first):
                    pass
        """,
        r"job.step",
    ),
    "in a plain loop around": (
        """
        def f(xs, *, job):
            s = job.state(n=0)
            for x in xs:
                for y in job.loop(x, name=x):
                    pass
                s.n += 1  # <-
        """,
        r"job.step",
    ),
}

REFUSED = {
    "the number of enumerate": (
        """
        def f(xs, *, job):
            for i, x in enumerate(job.loop(xs)):  # <-
                print(i, x)
        """,
        r"count at its start again .* for i, x in job.loop\(enumerate\(xs\)\)",
    ),
    "list": (
        """
        def f(xs, *, job):
            for x in list(job.loop(xs)):  # <-
                pass
        """,
        r"may take items before .* write for item in job.loop\(xs\):",
    ),
    "zip": (
        """
        def f(xs, *, job):
            for x, y in zip(job.loop(xs), xs):  # <-
                pass
        """,
        r"may take items",
    ),
    "a prefetching wrapper": (
        """
        def f(xs, *, job):
            for x in prefetch(job.loop(xs), 4):  # <-
                pass
        """,
        r"may take items",
    ),
    "a variable": (
        """
        def f(xs, *, job):
            items = job.loop(xs)  # <-
            for x in items:
                pass
        """,
        r"may take items",
    ),
    "the method": (
        """
        def f(xs, *, job):
            loop = job.loop  # <-
        """,
        r"may take items",
    ),
    "next and iter": (
        """
        def f(xs, *, job):
            return next(iter(job.loop(xs)))  # <-
        """,
        r"may take items",
    ),
    "a comprehension": (
        """
        def f(xs, *, job):
            return [x for x in job.loop(xs)]  # <-
        """,
        r"in a comprehension",
    ),
    "a nested function": (
        """
        def f(xs, *, job):
            def inner():
                for x in job.loop(xs):  # <-
                    pass
            inner()
        """,
        r"in a nested function",
    ),
    "a lambda": (
        """
        def f(xs, *, job):
            return lambda: job.loop(xs)  # <-
        """,
        r"in a nested function",
    ),
    "else": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                if x:
                    break
            else:  # <-
                print("none")
        """,
        r"left by break; put it behind the loop",
    ),
    "yield": (
        """
        def f(xs, *, job, state=None):
            for x in job.loop(xs):
                yield x  # <-
        """,
        r"yields in a loop over job.loop",
    ),
    "an inner wrong loop": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                for y in reversed(job.loop(x)):  # <-
                    pass
        """,
        r"may take items",
    ),
}

SWALLOWED = {
    "in the body": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                try:
                    print(x)
                except:  # <-
                    pass
        """,
        r"swallows the stop .* write except Exception:",
    ),
    "around": (
        """
        def f(xs, *, job):
            try:
                for x in job.loop(xs):
                    print(x)
            except BaseException as error:  # <-
                print(error)
        """,
        r"write except Exception as error:",
    ),
    "one of several": (
        """
        def f(xs, *, job):
            for x in job.loop(xs):
                if x:
                    try:
                        print(x)
                    except (ValueError, BaseException):  # <-
                        raise ValueError from None
        """,
        r"write except Exception",
    ),
}

GENERATORS = {
    "a count beside": (
        """
        def f(n, state=None):
            sim = state or Sim(n)
            total = 0
            while sim.t < n:
                sim.step()
                total += 1  # <-
                yield sim
            return total
        """,
        r"carries 'total' .* yield it too, .*: yield \(sim, total\), or say unsaved=\('total',\)",
    ),
    "the test": (
        """
        def f(n, state=None):
            t = 0
            while t < n:
                yield state
                t = t + 1  # <-
        """,
        r"'t' .* yield \(state, t\)",
    ),
    "taken from the state and not given": (
        """
        def f(n, state=None):
            world = state or World()
            ticks = world.ticks
            for x in range(n):
                ticks += 1  # <-
                yield world
        """,
        r"'ticks'",
    ),
}

WRONG = {
    f"{rule}: {case}": row
    for rule, rows in {
        "carried": CARRIED,
        "after": AFTER,
        "changed": CHANGED,
        "twice": TWICE,
        "refused": REFUSED,
        "swallowed": SWALLOWED,
        "generator": GENERATORS,
    }.items()
    for case, row in rows.items()
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_resume_would_lose_is_named_with_its_line_and_the_fix(
    case: str, tmp_path: Path
) -> None:
    source, said = WRONG[case]
    (message,) = problems(source, tmp_path)
    where, number, text = re.match(r"(.*?):(\d+): (.*)", message, re.S).groups()  # type: ignore[union-attr]
    assert where.endswith(".py")
    assert int(number) == marked(source)
    assert re.search(said, text), text


RIGHT = {
    "a training loop": """
        def f(n, lr, *, job):
            s = job.state(model=Model, opt=lambda: Adam(lr), best=float("inf"), losses=list)
            model, opt = s.model, s.opt
            data = load()
            for epoch in job.loop(range(n)):
                model.train()
                model.epoch = epoch
                running = 0.0
                for batch, target in data:
                    opt.zero_grad()
                    loss = criterion(model(batch), target)
                    loss.backward()
                    opt.step()
                    running += loss.item()
                s.losses.append(running / len(data))
                s.losses[-1] += 0
                opt.param_groups[0]["lr"] = lr / (epoch + 1)
                for group in s.opt.param_groups:
                    group["lr"] *= 0.9
                print(epoch, loss)
                s.best = min(s.best, running)
            return s.best, model
        """,
    "epochs and batches": """
        def f(n, loader, *, job):
            s = job.state(model=Model, epoch_loss=0.0, history=list)
            bar = make_bar(total=n)
            for epoch in tqdm(job.loop(range(n), name="epochs"), desc="train"):
                for batch in job.loop(loader(epoch)):
                    x, y = batch
                    out = s.model(x)
                    loss = out - y
                    s.epoch_loss += float(loss)
                    del out
                bar.update(1)
                s.history.append(s.epoch_loss)
                s.epoch_loss = 0.0
            s.history.reverse()
            return s.history
        """,
    "a bar": """
        def f(xs, *, job):
            s = job.state(n=0)
            bar = tqdm(job.loop(xs))
            return s
        """,
    "errors by the way": """
        def f(rows, *, job):
            s = job.state(good=0, bad=list)
            for row in job.loop(rows):
                try:
                    value = parse(row)
                except KeyError as error:
                    s.bad.append((row, str(error)))
                    continue
                except ValueError:
                    value = None
                else:
                    s.good += 1
                finally:
                    print(row)
                with open(value) as file, lock:
                    text = file.read()
                if not text:
                    break
                if len(text) > 9:
                    return s
                print(text, value)
            return s.good
        """,
    "a message of the value that failed": """
        def f(urls, *, job):
            s = job.state(failed=list)
            for url in job.loop(urls):
                try:
                    page = fetch(url)
                    check(page)
                except Exception:
                    s.failed.append((url, page))
                    raise
        """,
    "an error told with its item": """
        def f(urls, *, job):
            try:
                for url in job.loop(urls):
                    page = fetch(url)
            except Exception:
                print("failed at", url)
                raise
        """,
    "inner loops of its own": """
        def f(xs, *, job):
            s = job.state(total=0)
            for x in job.loop(xs):
                i, out = 0, []
                while i < x:
                    i += 1
                    out.append(i)
                while True:
                    got = fetch()
                    if got:
                        break
                for y in x:
                    if y:
                        first = y
                        break
                else:
                    first = None
                counts = {}
                for y in x:
                    counts[y] = counts.get(y, 0) + 1
                s.total += len(out) + got + first + len(counts)
            return s.total
        """,
    "inner loops that end in one way": """
        def f(xs, *, job):
            got = first = None
            for x in job.loop(xs):
                while True:
                    got = fetch()
                    if got:
                        break
                for y in x:
                    part = y
                    break
                print(got, part)
        """,
    "names of inner scopes": """
        def f(xs, *, job):
            k = 3
            for x in job.loop(xs):
                print(k, [k for k in x], {k: v for k, v in x})
                y = sorted(x, key=lambda y: y[0])
                z = make(lambda z, *more, **named: (z, more, named))
                def inner(w):
                    v = w
                    return v
                w = v = inner(y)
                print(w, v, z)
            return k
        """,
    "both branches": """
        def f(xs, *, job):
            for x in job.loop(xs):
                if x > 3:
                    y = 1
                elif x:
                    y = 2
                else:
                    continue
                match x:
                    case 1:
                        z = 1
                    case [first, *rest]:
                        z = first + rest
                    case _:
                        z = 2
                print(y, z)
        """,
    "the same test twice": """
        def f(xs, verbose, *, job):
            for i in job.loop(xs):
                if verbose and i % 10 == 0:
                    start = time()
                work(i)
                if verbose and i % 10 == 0:
                    print(time() - start)
        """,
    "names found in a test": """
        def f(xs, *, job):
            for x in job.loop(xs):
                if (a := x.get("a")) and (b := a.get("b")):
                    print(a, b)
                if not (c := x.get("c")) or not (d := c.get("d")):
                    continue
                while (line := x.readline()):
                    print(line)
                print(d, line, any((hit := y) > 3 for y in x), hit)
        """,
    "assigned again after the loop": """
        def f(xs, *, job):
            for x in job.loop(xs):
                y = x
            for x in xs:
                print(x)
            y = 3
            print([x for x in xs], y)
        """,
    "a read before any loop": """
        def f(xs, *, job):
            best = 0
            xs = [x for x in xs if x > best]
            total = sum(xs)
            for x in job.loop(xs):
                print(x / total, best)
            return total
        """,
    "nested functions": """
        def f(xs, *, job):
            s = job.state(opt=Opt)
            def closure():
                return s.model(batch)
            for x in job.loop(xs):
                def later():
                    return batch + y
                batch = x.batch
                y = 1
                s.opt.step(closure)
                later()
                key = sorted(x, key=lambda x: x[0])
                double = [batch for batch in key]
        """,
    "methods that are no change": """
        def f(xs, queue, bar, *, job):
            names = set()
            model = Model()
            for x in job.loop(xs):
                bar.update(1)
                bar.set_postfix(x=x)
                queue.put(x)
                model.fit(x)
                model.pop("x")
                print(x in names, names.union(x))
        """,
    "names of the state": """
        def f(xs, *, job):
            s = job.state(seen=dict, items=list, deep=Deep)
            seen = s.seen
            row = seen.setdefault("x", [])
            left, right = s.deep.pair
            fast = compiled(s.deep)
            for x in job.loop(xs):
                seen[x] = 1
                row.append(x)
                left.n += 1
                right[x] = 2
                fast.training = True
                s.deep.a.b[x] = 3
                del s.items[0]
            return seen
        """,
    "set up under a test of the state": """
        def f(xs, *, job):
            s = job.state(ready=False, log=list)
            if not s.ready:
                s.log.append("begin")
                s.ready = True
            s.started = now()
            for x in job.loop(xs):
                s.log.append(x)
            s.log.append("end")
        """,
    "after an inner loop": """
        def f(xs, *, job):
            s = job.state(epochs=0)
            for x in job.loop(xs):
                for y in job.loop(x):
                    pass
                s.epochs += 1
        """,
    "one way or the other": """
        def f(xs, *, job):
            s = job.state(n=0)
            if xs is None:
                s.n += 1
            else:
                for x in job.loop(xs):
                    pass
        """,
    "exceptions that go on": """
        def f(xs, *, job):
            try:
                for x in job.loop(xs):
                    try:
                        print(x)
                    except BaseException as error:
                        print(error)
                        raise error
                    except Exception:
                        pass
            except:
                print("stopped")
                raise
        """,
    "swallowed where there is no loop": """
        def f(xs, *, job):
            try:
                setup()
            except:
                pass
            for x in job.loop(xs):
                pass
        """,
    "wrappers": """
        def f(xs, *, job):
            for x in rich.progress.track(job.loop(xs), description="x"):
                pass
            for _, x in tqdm(job.loop(enumerate(xs), name="b")):
                print(x)
            for i, x in job.loop(enumerate(xs)):
                print(i, x)
            for x in tqdm(iterable=job.loop(xs)):
                pass
            with make() as progress:
                for x in progress.track(job.loop(xs)):
                    pass
        """,
    "a job of its own": """
        def f(xs, *, job):
            def inner(ys, *, job):
                for y in job.loop(ys):
                    print(y)
            for x in job.loop(xs):
                inner(x)
        """,
    "steps": """
        def f(day, *, job):
            raw = job.step(download, day)
            parts = job.map(clean, raw)
            total = 0
            for part in parts:
                total += part
            return total
        """,
    "a module that is not the job": """
        def f(xs, job_name):
            total = 0
            for x in asyncio.loop(xs):
                total += x
            return total
        """,
    "a finally": """
        def f(xs, *, job):
            for x in job.loop(xs):
                try:
                    file = open(x)
                    text = file.read()
                finally:
                    close(file)
                print(text)
        """,
    "a generator": """
        def f(n, state=None):
            sim = state or Sim(n)
            while sim.t < n:
                before = sim.t
                sim.step()
                for one in sim.parts:
                    size = one.size
                    print(size)
                print(before, size)
                yield sim
            return sim.result
        """,
    "a generator of a pair": """
        def f(n, state=None):
            sim, t = state or (Sim(n), 0)
            while t < n:
                sim, t = sim.next(), t + 1
                yield sim, t
        """,
    "a generator of a dict": """
        def f(n, state=None):
            t = state["t"] if state else 0
            total = state["total"] if state else 0
            for t in range(t, n):
                total += t
                snapshot = {"t": t, "total": total}
                yield snapshot
        """,
    "a generator of a value": """
        def f(n, state=0):
            while state < n:
                state += 1
                yield state
        """,
    "a generator without a loop": """
        def f(n, state=None):
            total = 0
            for x in range(n):
                total += x
            yield total
        """,
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_kept_is_no_error(case: str, tmp_path: Path) -> None:
    source = RIGHT[case].replace("bar = tqdm(job.loop(xs))", "bar = None")
    assert problems(source, tmp_path) == []


@pytest.mark.parametrize("case", [*CARRIED, *AFTER, *CHANGED])
def test_what_is_meant_is_no_error(case: str, tmp_path: Path) -> None:
    source, _ = {**CARRIED, **AFTER, **CHANGED}[case]
    (message,) = problems(source, tmp_path)
    found = re.search(r"say unsaved=\('(\w+)',\)", message)
    assert found is not None
    assert problems(source, tmp_path, unsaved=(found[1],)) == []


def test_a_name_that_the_function_does_not_have_cannot_be_meant(tmp_path: Path) -> None:
    function = function_of(CARRIED["a sum"][0], tmp_path)
    with pytest.raises(ValueError, match="f does not have: 'totl', 'y'"):
        check(function, unsaved=("y", "total", "totl"))
    with pytest.raises(ValueError, match=r"unsaved=\('total',\)"):
        check(function, unsaved="total")


def test_several_problems_are_told_at_once_the_worst_first(tmp_path: Path) -> None:
    source = """
        def f(xs, *, job):
            s = job.state(n=0)
            s.n += 1
            a = b = c = d = 0
            seen = {}
            for x in job.loop(xs):
                seen[x] = 1
                a += 1
                a += 2
                b += 1
                c += 1
                d += 1
            for x in job.loop(zip(a, list(job.loop(xs)))):
                print(seen)
    """
    lines = problems(source, tmp_path)
    assert len(lines) == MAX_PROBLEMS + 1
    assert "may take items" in lines[0]
    assert [re.findall("carries '(.)'", line) for line in lines[1:5]] == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
    ]
    assert re.fullmatch(r"… and \d more", lines[-1])


def test_a_method_below_decorators_is_told_with_the_lines_of_its_file(tmp_path: Path) -> None:
    source = '''
        import functools

        def same(function):
            @functools.wraps(function)
            def inner(*args):
                return function(*args)
            return inner

        class Trainer:
            @same
            @same
            def run(self, xs, *, job):
                """Train.

        Text that begins further to the left.
                """
                total = 0
                for x in job.loop(xs):
                    total += x  # <-
        '''
    with pytest.raises(UnsavedStateError) as caught:
        check(function_of(source, tmp_path, "Trainer.run"))
    assert f".py:{marked(source)}: `total += x" in str(caught.value)


def test_a_file_in_the_working_folder_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (message,) = problems(CARRIED["a sum"][0], tmp_path)
    assert re.match(r"program\d+\.py:5: `total \+= x", message)


def test_a_function_without_source_is_taken_as_it_is(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec(textwrap.dedent(CARRIED["a sum"][0]), space)
    check(space["f"])
    function = function_of(CARRIED["a sum"][0], tmp_path)
    Path(function.__code__.co_filename).write_text("\n\n\n\n")
    check(function)


def test_a_coroutine_is_left_to_others(tmp_path: Path) -> None:
    source = """
        async def f(xs, *, job):
            async for x in job.loop(xs):
                pass
    """
    assert problems(source, tmp_path) == []


def test_every_function_of_the_standard_library_can_be_read(tmp_path: Path) -> None:
    """No syntax stops the check, with and without a loop of the job around the whole body."""
    import argparse
    import dataclasses
    import inspect
    import tarfile
    import typing

    count = 0
    for module in (argparse, dataclasses, inspect, tarfile, typing):
        text = Path(str(module.__file__)).read_text().splitlines()
        for function in vars(module).values():
            if not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            first = function.__code__.co_firstlineno - 1
            if not text[first].startswith("def ") or not text[first].endswith(":"):
                continue
            _, *body = inspect.getsource(function).splitlines()
            turned = [
                "def f(*xs, job=None, **kw):",
                "    for x in job.loop(xs):",
                *("    " + line for line in body),
            ]
            problems("\n".join(turned), tmp_path)
            count += 1
    assert count > 50
