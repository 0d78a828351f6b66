"""A random forest on scikit-learn's digits, scored by cross-validation."""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

X, Y = load_digits(return_X_y=True)  # read once per worker, when it imports this file


def objective(params, seed):
    forest = RandomForestClassifier(
        n_estimators=params["trees"],
        max_features=params["max_features"],
        min_samples_leaf=params["min_samples_leaf"],
        random_state=seed,
    )
    scores = cross_val_score(forest, X[:600], Y[:600], cv=3)
    return {"accuracy": scores.mean(), "worst_fold": scores.min()}
