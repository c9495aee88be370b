"""A program of scikit-learn that uses joblib: only the backend is named."""

import joblib
from ray.util.joblib import register_ray
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

register_ray()
data, target = load_iris(return_X_y=True)
with joblib.parallel_config("ray", n_jobs=2):
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}, cv=5).fit(data, target)
    squares = joblib.Parallel()(joblib.delayed(pow)(number, 2) for number in range(20))
print("candidates:", len(search.cv_results_["params"]), "good:", search.best_score_ > 0.9)
print("squares:", sum(squares))
