"""The house: imports point down, the columns do not know each other, the import is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import checkpoint

PACKAGE = Path(checkpoint.__file__).parent

# Floors from the ground up.  A module may import from lower floors only; from
# its own floor only what stands before it.
FLOORS: list[tuple[str, list[str]]] = [
    ("values", ["errors", "_model", "_allowance", "_opcodes"]),
    ("store", ["store._contract", "store._files", "store._local", "store._memory", "store"]),
    (
        "bytes",
        ["_chunking", "_references", "_alignment", "_renumbering", "_codec", "_type_rows",
         "_compressed", "_keys", "_json", "_format",
         "_workers"],
    ),
    (
        "bytes on a store",
        ["_retention", "_lease", "_lines", "_identity", "_tags", "_reading", "_reuse", "_delta",
         "_writing", "_earlier", "_stream", "_draft", "_single_file", "_repository", "_pruning"],
    ),
    (
        "objects",
        ["_assignments", "_shapes", "_recording", "_standins", "_paths", "_refusal", "_aside",
         "rebuild", "rebuild._checks", "rebuild.numpy", "rebuild._pandas_checks",
         "rebuild._pandas_arrays", "rebuild.pandas", "rebuild.scipy", "rebuild.torch",
         "_reducing_rows", "_reducing_numpy", "_reducing_pandas", "_reducing_scipy",
         "_reducing_torch", "_reducers",
         "_deep_pickling", "_unpickling", "_migration", "_moves", "_spans", "_rewriting",
         "_selecting", "_pickling", "_spelling", "_one_pickle", "_unframing", "_translating",
         "_disassembly", "_atoms", "_views",
         "_outline", "_lockstep", "_partners", "_comparing", "_difference", "_records", "_probes",
         "_raw",
         "_grants", "_checks", "_checks_of_states", "_checks_of_types", "_shipped",
         "_shipped_numpy", "_rebuilders", "_classes", "_trust",
         "_bounds", "_abstract", "_verifying",
         "_adapting", "_pending", "_careful", "_schema", "_upgrading", "_foreign", "_verdict",
         "_telling"],
    ),
    ("roof", ["_members", "_pickle_interface", "_forking", "_background", "_saving",
              "_loading", "_migrating", "_looking", "_checkpointer"]),
    ("jobs", ["_jobs", "_jobs.watch", "_jobs.stopping", "_jobs.encoding", "_jobs.identity",
              "_jobs.fingerprint", "_jobs.scopes", "_jobs.flow", "_jobs.unsaved",
              "_jobs.chance", "_jobs.progress", "_jobs.places", "_jobs.marks", "_jobs.foresight",
              "_jobs.ledger", "_jobs.journal", "_jobs.steps",
              "_jobs.maps", "_jobs.loops", "_jobs.job", "_jobs.attempt", "_jobs.status",
              "_jobs.past",
              "_jobs.resumable"]),
    ("face", [""]),
    ("edges", ["_schema_lock", "_cli_schema", "_cli_migrate", "_cli_inspect", "testing._contract",
               "testing._crashing", "testing._torture", "testing", "_cli_jobs", "_cli",
               "__main__"]),
]  # fmt: skip
ORDER = [module for _, modules in FLOORS for module in modules]
BYTES = {m for floor, modules in FLOORS[1:4] for m in modules}
OBJECTS = set(FLOORS[4][1])


def modules() -> dict[str, Path]:
    """Each module's dotted name below the package, and its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(module: str, path: Path) -> set[str]:
    """The modules of the package that *module* imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else str(node.module) for name in below]
        found |= {name.partition(".")[2] for name in names if name.split(".")[0] == "checkpoint"}
    return found


def is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_module_has_its_floor() -> None:
    assert sorted(modules()) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down(module: str) -> None:
    for other in imports(module, modules()[module]):
        assert ORDER.index(other) < ORDER.index(module), f"{module} imports {other}"


def test_the_columns_do_not_import_each_other() -> None:
    for module in BYTES:
        assert not imports(module, modules()[module]) & OBJECTS, module
    for module in OBJECTS:
        assert not imports(module, modules()[module]) & BYTES, module


def test_the_byte_column_does_not_pickle() -> None:
    for module in BYTES:
        source = ast.parse(modules()[module].read_text())
        names = {a.name for n in ast.walk(source) if isinstance(n, ast.Import) for a in n.names}
        assert "pickle" not in names, module


def test_only_the_local_store_opens_files_for_writing() -> None:
    for module, path in modules().items():
        if module in ("store._local", "store._files"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "open":
                modes = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
                assert modes == ["rb"], f"{module} opens a file with {modes}"


def test_no_function_and_no_module_is_too_long() -> None:
    for module, path in modules().items():
        text = path.read_text()
        if not module.startswith("testing"):
            assert len(text.splitlines()) <= 500, f"{module} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{module}.{node.name} has {length} lines"


def test_every_exported_class_says_that_it_is_of_checkpoint() -> None:
    for name in checkpoint.__all__:
        value = getattr(checkpoint, name)
        if isinstance(value, type):
            assert value.__module__ in ("checkpoint", "checkpoint.store._contract"), name


def test_the_import_is_light() -> None:
    heavy = ("numpy", "torch", "rich", "pandas", "pytest", "hypothesis", "sklearn")
    code = f"import sys, checkpoint; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
