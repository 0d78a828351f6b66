"""hpo: a hyperparameter-search service on Optuna, Ray and MLflow."""

__version__ = "0.1.0"
