"""Mean-field convergence studies of interacting particle systems.

    study = mfstudy.load("quickstart")     # or the path of a TOML file
    results = mfstudy.run(study)           # computes what ./quickstart.mfstudy lacks
    results.fit("empirical").text          # the rate, with its error bars

`wasserstein` and `fit_rate` also work on arrays of your own.
"""

from mfstudy.fit import Fit, fit_rate
from mfstudy.results import Results
from mfstudy.study import Study, load
from mfstudy.sweep import run
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.wasserstein import wasserstein

open = Results  # noqa: A001  -- mfstudy.open(store), the contract's name, as in h5py or zarr

__all__ = ["Bracket", "Fit", "Results", "Study", "fit_rate", "load", "open", "run", "wasserstein"]
