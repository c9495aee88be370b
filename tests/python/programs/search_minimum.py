"""A program of Optuna: it asks the study for parameters, tasks compute, and it tells the study what came out."""

import optuna
import ray


@ray.remote
def objective(x, y):
    return (x - 2) ** 2 + abs(y + 1)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=3, constant_liar=True))
ray.init()
running = {}
for number in range(60):
    if len(running) == 4 or number >= 56:
        (ready,), _ = ray.wait(list(running))
        study.tell(running.pop(ready), ray.get(ready))
    trial = study.ask()
    running[objective.remote(trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5))] = trial
for ref, trial in running.items():
    study.tell(trial, ray.get(ref))
print("trials:", len(study.trials), "near the minimum:", study.best_value < 1)
