"""What libraries have moved is found where it is today, in files of their older releases."""

from __future__ import annotations

import importlib
import pickle
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from checkpoint import Checkpointer, MemoryStore, Migrations, Snapshot
from checkpoint._draft import Draft
from checkpoint._members import stamp
from checkpoint._moves import _MODULES, _NAMES, _PACKAGES, sought
from checkpoint._pickling import pickle_into
from checkpoint._rewriting import renamed
from checkpoint._translating import translated
from checkpoint._unpickling import unpickle
from checkpoint._upgrading import Loading, Terms

PLACES = sorted({*_PACKAGES, *_MODULES, *_NAMES})

# Globals of older releases, as their pickles hold them.
OLD = {
    "numpy": [
        "numpy.core.multiarray:_reconstruct",
        "numpy.core.multiarray:scalar",
        "numpy.core.numeric:_frombuffer",
        "numpy.core:_ufunc_reconstruct",
        "numpy._core.multiarray:_reconstruct",
        "numpy._core.numeric:_frombuffer",
        "numpy.rec:recarray",
    ],
    "pandas": [
        "pandas.indexes.base:_new_Index",
        "pandas.indexes.base:Index",
        "pandas.indexes.numeric:Int64Index",
        "pandas.indexes.range:RangeIndex",
        "pandas.indexes.multi:MultiIndex",
        "pandas.core.index:_new_Index",
        "pandas.core.index:Int64Index",
        "pandas.core.index:MultiIndex",
        "pandas.core.index:FrozenList",
        "pandas.core.base:FrozenList",
        "pandas.core.base:FrozenNDArray",
        "pandas.core.indexes.numeric:Float64Index",
        "pandas.core.indexes.numeric:UInt64Index",
        "pandas.core.internals.managers:BlockManager",
        "pandas.core.internals.blocks:new_block",
        "pandas.core.categorical:Categorical",
        "pandas.core.series:TimeSeries",
        "pandas.core.sparse.array:SparseArray",
        "pandas.core.arrays.sparse.dtype:SparseDtype",
        "pandas.core.arrays.numpy_:PandasArray",
        "pandas.core.arrays.numpy_:PandasDtype",
        "pandas.core.dtypes.dtypes:PandasDtype",
        "pandas.core.arrays.arrow.dtype:ArrowDtype",
        "pandas.types.dtypes:CategoricalDtype",
        "pandas.tseries.index:_new_DatetimeIndex",
        "pandas.tseries.index:DatetimeIndex",
        "pandas.tseries.period:PeriodIndex",
        "pandas.tseries.tdi:TimedeltaIndex",
        "pandas._period:Period",
        "pandas._libs.period:Period",
        "pandas._sparse:BlockIndex",
        "pandas.tslib:Timestamp",
        "pandas.tslib:Timedelta",
        "pandas.tslib:__nat_unpickle",
        "pandas._libs.tslib:__nat_unpickle",
        "pandas._libs.tslibs.nattype:__nat_unpickle",
    ],
    "sklearn": [
        "sklearn.tree.tree:DecisionTreeClassifier",
        "sklearn.ensemble.forest:RandomForestClassifier",
        "sklearn.ensemble.gradient_boosting:GradientBoostingRegressor",
        "sklearn.ensemble.voting_classifier:VotingClassifier",
        "sklearn.linear_model.base:LinearRegression",
        "sklearn.linear_model.logistic:LogisticRegression",
        "sklearn.neighbors.classification:KNeighborsClassifier",
        "sklearn.neighbors.kd_tree:newObj",
        "sklearn.neighbors.kd_tree:KDTree",
        "sklearn.svm.classes:SVC",
        "sklearn.preprocessing.data:StandardScaler",
        "sklearn.preprocessing.label:LabelEncoder",
        "sklearn.decomposition.pca:PCA",
        "sklearn.decomposition.online_lda:LatentDirichletAllocation",
        "sklearn.cluster.k_means_:KMeans",
        "sklearn.cross_decomposition.cca_:CCA",
        "sklearn.neural_network.multilayer_perceptron:MLPClassifier",
        "sklearn.feature_extraction.hashing:FeatureHasher",
        "sklearn.gaussian_process.gpr:GaussianProcessRegressor",
        "sklearn.externals.joblib.numpy_pickle:NumpyArrayWrapper",
    ],
    "torch": [
        "torch.tensor:_rebuild_from_type",
        "torch.storage:_TypedStorage",
        "torch.storage:_UntypedStorage",
        "torch.cuda.amp.grad_scaler:_refresh_per_optimizer_state",
        "torch.quantization.observer:MinMaxObserver",
        "torch.nn.quantized.modules.linear:Linear",
        "torch.nn.intrinsic.modules.fused:ConvReLU2d",
        "torch.distributed._tensor._dtensor_spec:DTensorSpec",
    ],
}


resolve = Loading(Terms(Migrations())).find


def installed(name: str) -> None:
    """Skip if the library of *name* is not installed."""
    pytest.importorskip(name.partition(".")[0])


def is_module(name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    except ImportError:
        return False
    return True


def pickled(graph: Any) -> bytes:
    pieces: list[Any] = []
    pickle_into(graph, pieces.append)
    return b"".join(pieces)


def as_before(graph: Any, old: dict[str, str]) -> bytes:
    """The stream of *graph* as a release wrote it that knew things by their *old* names."""

    def rename(module: str, qualname: str) -> tuple[str, str]:
        name = f"{module}:{qualname}"
        module, _, qualname = old.get(name, name).partition(":")
        return module, qualname

    stream = renamed(translated(pickle.dumps(graph, 5)), rename)
    assert stream is not None
    return stream


@pytest.mark.parametrize("place", PLACES)
def test_every_move_leads_to_what_is_there(place: str) -> None:
    installed(place)
    module, _, qualname = place.partition(":")
    others = sought(module, qualname or "?")
    assert len(others) > 1
    if qualname:
        assert resolve(module, qualname) is not None
        return
    found = [other for other, _ in others if other != module and is_module(other)]
    assert found
    dead = {other for other, _ in others} - {module, *found}
    # What is gone itself has had all its names moved on.
    assert all(any(name.startswith(f"{other}:") for name in _NAMES) for other in dead)


@pytest.mark.parametrize("old", [name for names in OLD.values() for name in names])
def test_a_global_of_an_older_release_is_found(old: str) -> None:
    installed(old)
    module, _, qualname = old.partition(":")
    assert resolve(module, qualname) is not None


def test_other_libraries_cost_a_look_and_have_one_name() -> None:
    assert sought("game.units", "Orc") == [("game.units", "Orc")]
    assert sought("numpy_financial.core", "x") == [("numpy_financial.core", "x")]
    assert sought("numpy.corelib", "x") == [("numpy.corelib", "x")]


def test_numpy_names_are_sought_both_ways_the_new_one_first() -> None:
    old, new = ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")
    assert sought(*old) == [new, old]
    assert sought(*new) == [new, old]


def test_an_array_of_numpy_1_loads_without_a_warning() -> None:
    graph: list[Any] = [
        np.arange(5.0),
        np.float64(2),
        np.asfortranarray(np.ones((3, 4))),
        np.dtype("f4"),
    ]
    stream = pickled(graph)
    assert b"numpy._core" in stream
    old = renamed(stream, lambda m, q: (m.replace("numpy._core", "numpy.core"), q))
    assert old is not None
    assert b"numpy._core" not in old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = unpickle(old, resolve=resolve)
    assert all(np.array_equal(one, other) for one, other in zip(graph, back, strict=True))


def test_a_file_of_numpy_2_is_served_by_numpy_1(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = pickled(np.float64(2))
    older = types.ModuleType("numpy.core.multiarray")
    older.__dict__["scalar"] = sys.modules["numpy._core.multiarray"].__dict__["scalar"]
    monkeypatch.setitem(sys.modules, older.__name__, older)
    monkeypatch.setitem(sys.modules, "numpy._core.multiarray", None)  # cannot be imported
    assert b"numpy._core.multiarray" in stream
    assert unpickle(stream, resolve=resolve) == 2


def test_a_series_of_an_older_pandas_loads() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}, index=pd.Index([10, 20]))
    old = as_before(
        frame,
        {
            "pandas:Index": "pandas.core.indexes.numeric:Int64Index",
            "pandas:DataFrame": "pandas.core.frame:DataFrame",
            "pandas._libs.internals:_unpickle_block": "pandas.core.internals.blocks:new_block",
            "pandas.core.indexes.base:_new_Index": "pandas.indexes.base:_new_Index",
        },
    )
    with pytest.raises((ImportError, TypeError)):
        pickle.loads(old)
    pd.testing.assert_frame_equal(unpickle(old, resolve=resolve), frame)


def test_a_model_of_scikit_learn_0_21_is_of_the_class_of_today() -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    models = [
        make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y),
        DecisionTreeClassifier(random_state=0).fit(x, y),
    ]
    old = as_before(
        models,
        {
            "sklearn.tree._classes:DecisionTreeClassifier": "sklearn.tree.tree:"
            "DecisionTreeClassifier",
            "sklearn.linear_model._logistic:LogisticRegression": "sklearn.linear_model.logistic:"
            "LogisticRegression",
            "sklearn.preprocessing._data:StandardScaler": "sklearn.preprocessing.data:"
            "StandardScaler",
        },
    )
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(old)
    back = unpickle(old, resolve=resolve)
    for model, other in zip(models, back, strict=True):
        assert type(other) is type(model)
        assert other.predict(x).tolist() == model.predict(x).tolist()


def test_a_storage_of_an_older_torch_loads() -> None:
    torch = pytest.importorskip("torch")
    old = as_before(
        [torch.storage.TypedStorage], {"torch.storage:TypedStorage": "torch.storage:_TypedStorage"}
    )
    assert unpickle(old, resolve=resolve) == [torch.storage.TypedStorage]


def test_migrating_takes_the_moves_of_libraries_along() -> None:
    graph: dict[str, Any] = {"scalar": np.float64(2), "large": np.arange(20_000.0)}
    pieces: list[Any] = []
    pickled = pickle_into(graph, pieces.append)
    types = [evolve(t, module=t.module.replace("._core", ".core")) for t in pickled.globals]
    old = renamed(b"".join(pieces), lambda m, q: (m.replace("._core", ".core"), q))
    assert old is not None
    saves = Checkpointer(MemoryStore(), migrations=Migrations())

    def fill(draft: Draft) -> Snapshot:
        draft.stream.write(old)
        return saves._repository.commit(draft, pickled.buffers, None, types=tuple(types), **stamp())

    saves._saving.make(fill)
    (one,) = saves.migrate()
    assert (one.way, one.into) == ("rename", 2)
    assert "numpy.core.multiarray:scalar → numpy._core.multiarray:scalar" in one.why
    assert {t.module for t in saves.snapshots()[1].types} >= {"numpy._core.multiarray"}
    back = saves.load(version=2)
    assert back["scalar"] == 2
    assert np.array_equal(back["large"], graph["large"])
