"""Where libraries have moved what people pickle: tables, and the names to seek a global under.

They serve old files in new libraries, and, for numpy, new files in old ones.
Only moves that are in the libraries' own histories are here, and only of names
that their pickles hold.  Nothing is imported.
"""

from __future__ import annotations

from collections.abc import Iterator

Name = tuple[str, str]

# A package and all below it.
_PACKAGES = {
    "numpy.core": "numpy._core",
    "numpy._core": "numpy.core",
    "pandas.indexes": "pandas.core.indexes",
    "sklearn.externals.joblib": "joblib",
    "torch.distributed._tensor": "torch.distributed.tensor",
    "torch.nn.intrinsic": "torch.ao.nn.intrinsic",
    "torch.nn.qat": "torch.ao.nn.qat",
    "torch.nn.quantized": "torch.ao.nn.quantized",
    "torch.quantization": "torch.ao.quantization",
}

# What a module held is in one of these, each thing in the first that has it.
_MODULES = {
    "numpy.rec": ("numpy.core.records",),
    "pandas._libs.period": ("pandas._libs.tslibs.period",),
    "pandas._libs.tslib": (
        "pandas._libs.tslibs.timestamps",
        "pandas._libs.tslibs.timedeltas",
        "pandas._libs.tslibs.nattype",
    ),
    "pandas._period": ("pandas._libs.tslibs.period",),
    "pandas._sparse": ("pandas._libs.sparse",),
    "pandas.core.arrays.arrow.dtype": ("pandas.core.dtypes.dtypes",),
    "pandas.core.arrays.sparse.dtype": ("pandas.core.dtypes.dtypes",),
    "pandas.core.categorical": ("pandas.core.arrays.categorical",),
    "pandas.core.index": (
        "pandas.core.indexes.base",
        "pandas.core.indexes.multi",
        "pandas.core.indexes.numeric",
        "pandas.core.indexes.frozen",
    ),
    "pandas.core.sparse.array": ("pandas.core.arrays.sparse.array",),
    "pandas.sparse.array": ("pandas.core.arrays.sparse.array",),
    "pandas.tseries.index": ("pandas.core.indexes.datetimes",),
    "pandas.tseries.period": ("pandas.core.indexes.period", "pandas._libs.tslibs.period"),
    "pandas.tseries.tdi": ("pandas.core.indexes.timedeltas",),
    "pandas.tslib": ("pandas._libs.tslib",),
    "pandas.types.dtypes": ("pandas.core.dtypes.dtypes",),
    "torch.cuda.amp.grad_scaler": ("torch.amp.grad_scaler",),
    "torch.tensor": ("torch._tensor",),
}

_NAMES = {
    "pandas._libs.tslibs.nattype:__nat_unpickle": "pandas._libs.tslibs.nattype:_nat_unpickle",
    "pandas.core.arrays.numpy_:PandasArray": "pandas.core.arrays.numpy_:NumpyExtensionArray",
    "pandas.core.arrays.numpy_:PandasDtype": "pandas.core.dtypes.dtypes:NumpyEADtype",
    "pandas.core.base:FrozenList": "pandas.core.indexes.frozen:FrozenList",
    "pandas.core.base:FrozenNDArray": "numpy:ndarray",
    "pandas.core.dtypes.dtypes:PandasDtype": "pandas.core.dtypes.dtypes:NumpyEADtype",
    "pandas.core.indexes.frozen:FrozenNDArray": "numpy:ndarray",
    "pandas.core.indexes.numeric:Float64Index": "pandas.core.indexes.base:Index",
    "pandas.core.indexes.numeric:Int64Index": "pandas.core.indexes.base:Index",
    "pandas.core.indexes.numeric:UInt64Index": "pandas.core.indexes.base:Index",
    "pandas.core.internals.blocks:new_block": "pandas._libs.internals:_unpickle_block",
    "pandas.core.series:TimeSeries": "pandas.core.series:Series",
    "torch.storage:_TypedStorage": "torch.storage:TypedStorage",
    "torch.storage:_UntypedStorage": "torch.storage:UntypedStorage",
}

# Modules that scikit-learn 0.22 made private: the package, and old=new in it.
_SKLEARN = {
    "cluster": "affinity_propagation_=_affinity_propagation bicluster=_bicluster birch=_birch "
    "dbscan_=_dbscan hierarchical=_agglomerative k_means_=_kmeans mean_shift_=_mean_shift "
    "optics_=_optics spectral=_spectral",
    "covariance": "elliptic_envelope=_elliptic_envelope robust_covariance=_robust_covariance "
    "empirical_covariance_=_empirical_covariance graph_lasso_=_graph_lasso "
    "shrunk_covariance_=_shrunk_covariance",
    "cross_decomposition": "cca_=_pls pls_=_pls",
    "decomposition": "base=_base dict_learning=_dict_learning factor_analysis=_factor_analysis "
    "fastica_=_fastica incremental_pca=_incremental_pca kernel_pca=_kernel_pca nmf=_nmf "
    "online_lda=_lda pca=_pca sparse_pca=_sparse_pca truncated_svd=_truncated_svd",
    "ensemble": "bagging=_bagging base=_base forest=_forest gradient_boosting=_gb "
    "iforest=_iforest voting=_voting voting_classifier=_voting weight_boosting=_weight_boosting",
    "feature_extraction": "dict_vectorizer=_dict_vectorizer hashing=_hash",
    "feature_selection": "base=_base from_model=_from_model mutual_info_=_mutual_info rfe=_rfe "
    "univariate_selection=_univariate_selection variance_threshold=_variance_threshold",
    "gaussian_process": "gpc=_gpc gpr=_gpr",
    "linear_model": "base=_base bayes=_bayes coordinate_descent=_coordinate_descent huber=_huber "
    "least_angle=_least_angle logistic=_logistic omp=_omp passive_aggressive=_passive_aggressive "
    "perceptron=_perceptron ransac=_ransac ridge=_ridge sgd_fast=_sgd_fast "
    "stochastic_gradient=_stochastic_gradient theil_sen=_theil_sen",
    "manifold": "isomap=_isomap locally_linear=_locally_linear mds=_mds "
    "spectral_embedding_=_spectral_embedding t_sne=_t_sne",
    "metrics": "classification=_classification ranking=_ranking regression=_regression "
    "scorer=_scorer",
    "mixture": "base=_base bayesian_mixture=_bayesian_mixture gaussian_mixture=_gaussian_mixture",
    "neighbors": "ball_tree=_ball_tree base=_base classification=_classification graph=_graph "
    "kd_tree=_kd_tree kde=_kde lof=_lof nca=_nca nearest_centroid=_nearest_centroid "
    "quad_tree=_quad_tree regression=_regression unsupervised=_unsupervised",
    "neural_network": "multilayer_perceptron=_multilayer_perceptron rbm=_rbm",
    "preprocessing": "data=_data label=_label",
    "semi_supervised": "label_propagation=_label_propagation",
    "svm": "base=_base classes=_classes",
    "tree": "tree=_classes",
}
_MODULES |= {
    f"sklearn.{package}.{old}": (f"sklearn.{package}.{new}",)
    for package, pairs in _SKLEARN.items()
    for old, _, new in (pair.partition("=") for pair in pairs.split())
}

_LIBRARIES = {name.partition(".")[0] for name in (*_PACKAGES, *_MODULES, *_NAMES)}

# Still there, but the old place warns (numpy), or has something else under the name (pandas).
_BETTER_MOVED = ("numpy.core", "pandas.core.internals.blocks:new_block")


def sought(module: str, qualname: str) -> list[Name]:
    """The names under which to seek a global, the first that is there; its own is one of them."""
    names = [(module, qualname)]
    if module.partition(".")[0] not in _LIBRARIES:
        return names
    for name in names:
        names += [other for other in _moved(*name) if other not in names]
    whole = f"{module}:{qualname}"
    if any(_is_below(whole, place) for place in _BETTER_MOVED):
        names.append(names.pop(0))
    return names


def _moved(module: str, qualname: str) -> Iterator[Name]:
    """Where one move took *module:qualname*."""
    name = _NAMES.get(f"{module}:{qualname}")
    if name is not None:
        new, _, qualname = name.partition(":")
        yield new, qualname
    for new in _MODULES.get(module, ()):
        yield new, qualname
    for old, new in _PACKAGES.items():
        if _is_below(module, old):
            yield new + module.removeprefix(old), qualname


def _is_below(name: str, place: str) -> bool:
    """Whether *name* is *place*, or below it."""
    return name == place or name.startswith((f"{place}.", f"{place}:"))
