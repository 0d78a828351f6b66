"""Gradient boosting on scikit-learn's digits; it reports after every round."""

import xgboost
from sklearn.datasets import load_digits

X, Y = load_digits(return_X_y=True)
TRAIN = xgboost.DMatrix(X[:1200], Y[:1200])
VALIDATION = xgboost.DMatrix(X[1200:], Y[1200:])


def objective(params, seed):
    settings = {
        "objective": "multi:softprob",
        "num_class": 10,
        "eval_metric": "mlogloss",
        "learning_rate": params["lr"],
        "max_depth": params["depth"],
        "subsample": params["subsample"],
        "seed": seed,
        "nthread": 1,
    }
    booster = xgboost.Booster(settings, [TRAIN, VALIDATION])
    for round_number in range(params["rounds"]):
        booster.update(TRAIN, round_number)
        words = booster.eval(VALIDATION, "val", round_number)  # "[3]\tval-mlogloss:0.52"
        yield {"val_mlogloss": float(words.rpartition(":")[2])}
