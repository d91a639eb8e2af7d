"""Random numbers go on after a resume as if nothing had happened."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoint import JobWarning
from checkpoint._jobs.chance import captured, restore, unlike


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test does to the generators of all is undone."""
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def draws() -> list[float]:
    """Some numbers of each kind; `gauss` keeps every second one back for the next call."""
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.random()),
        float(np.random.standard_normal()),
        *map(float, np.random.permutation(5)),
    ]


def test_the_numbers_go_on_where_they_stopped() -> None:
    draws()  # An odd number of gaussians: one is kept back in each generator.
    state = captured()
    expected = [draws() for _ in range(300)]
    restore(state)
    assert [draws() for _ in range(300)] == expected


def script(source: str, folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_numbers_go_on_in_another_process(tmp_path: Path) -> None:
    state = captured()
    (tmp_path / "state").write_bytes(pickle.dumps(state))
    expected = draws()
    # NumPy is not imported there: that it was used here is reason to import it.
    out = script(
        """
        import pathlib, pickle, random, sys
        from checkpoint._jobs.chance import restore
        assert "numpy" not in sys.modules
        restore(pickle.loads(pathlib.Path(sys.argv[1], "state").read_bytes()))
        np = sys.modules["numpy"]
        print([random.random(), random.gauss(0, 1), float(np.random.random()),
               float(np.random.standard_normal()), *map(float, np.random.permutation(5))])
        """,
        tmp_path,
    )
    assert out.strip() == repr(expected)


def test_what_is_captured_is_plain() -> None:
    def check(value: Any) -> None:
        assert type(value) in (dict, list, bytes, str, int, float, type(None)), type(value)
        inner = value.values() if type(value) is dict else value if type(value) is list else ()
        for each in inner:
            check(each)

    state = captured()
    check(state)
    assert len(pickle.dumps(state)) < 6_000 or "torch" in state
    assert pickle.loads(pickle.dumps(state)) == state


def test_capturing_imports_nothing(tmp_path: Path) -> None:
    out = script(
        """
        import random, sys
        from checkpoint._jobs import chance
        before = set(sys.modules)
        state = chance.captured()
        chance.restore(state)
        print(list(state), sorted(set(sys.modules) - before), "numpy" in sys.modules)
        """,
        tmp_path,
    )
    assert out.split("\n")[0] == "['random'] [] False"


def test_a_generator_that_was_not_captured_is_left_alone() -> None:
    state = captured()
    del state["numpy"]
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    restore(state)
    assert np.random.random() == expected


def test_two_captures_are_alike_until_a_number_is_drawn() -> None:
    change: Callable[[], object]
    before = captured()
    assert not unlike(before, captured())
    for change in (random.random, np.random.random):
        before = captured()
        change()
        assert unlike(before, captured())
    del before["numpy"]
    assert unlike(before, captured())


@pytest.mark.parametrize("library", ["random", "numpy"])
def test_a_state_that_cannot_be_set_is_named_and_the_others_are_set(library: str) -> None:
    state = captured()
    expected = draws()
    state[library] = [99, b"", None] if library == "random" else {"bit_generator": "New"}
    restored = [2, 3] if library == "random" else [0, 1]
    with pytest.warns(JobWarning, match=f"numbers of {library} do not go on") as caught:
        restore(state)
    assert len(caught) == 1
    again = draws()
    assert [again[at] for at in restored] == [expected[at] for at in restored]


def test_a_library_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    state = captured()
    monkeypatch.setitem(sys.modules, "numpy.random", None)
    with pytest.warns(JobWarning, match="numbers of numpy do not go on"):
        restore(state)


@pytest.mark.parametrize("kind", ["PCG64", "Philox", "SFC64", "MT19937"])
def test_any_bit_generator_of_numpy_goes_on(kind: str) -> None:
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(getattr(np.random, kind)(7))
    try:
        np.random.random(3)
        state = pickle.loads(pickle.dumps(captured()))
        expected = list(np.random.random(5))
        restore(state)
        assert list(np.random.random(5)) == expected
    finally:
        np.random.set_bit_generator(before)


def test_the_numbers_of_torch_go_on() -> None:
    torch = pytest.importorskip("torch")
    torch.rand(3)
    state = pickle.loads(pickle.dumps(captured()))
    assert set(state["torch"]) == {"cpu", "cuda"} if torch.cuda.is_initialized() else {"cpu"}
    expected = [torch.rand(3).tolist(), torch.randn(5).tolist(), torch.randperm(9).tolist()]
    restore(state)
    assert expected == [torch.rand(3).tolist(), torch.randn(5).tolist(), torch.randperm(9).tolist()]


def test_numbers_of_a_gpu_that_is_not_there_are_named() -> None:
    torch = pytest.importorskip("torch")
    state = captured()
    state["torch"]["cuda"] = [bytes(16)] * (torch.cuda.device_count() + 1)
    with pytest.warns(JobWarning, match="numbers of torch do not go on"):
        restore(state)


def test_the_numbers_of_a_gpu_go_on() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    torch.rand(3, device="cuda")
    state = pickle.loads(pickle.dumps(captured()))
    expected = torch.rand(5, device="cuda").tolist()
    restore(state)
    assert torch.rand(5, device="cuda").tolist() == expected
