"""Writes early_stopping.json: what transformers' Trainer and EarlyStoppingCallback make of losses.

For each sequence of losses: after each, whether it is a new best, the step of the best, and how
many in a row did not gain. Run with transformers 5.24 and torch; needs no model.
"""
import json
import pathlib
import random
from types import SimpleNamespace

import transformers
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy


def follow(losses, threshold):
    arguments = SimpleNamespace(
        metric_for_best_model="loss", greater_is_better=False, load_best_model_at_end=True,
        save_strategy=SaveStrategy.STEPS, eval_strategy="steps")
    trainer = SimpleNamespace(args=arguments, state=TrainerState())
    callback = EarlyStoppingCallback(10**6, threshold)
    rows = []
    for step, loss in enumerate(losses, start=1):
        trainer.state.global_step = step
        metrics = {"eval_loss": loss}
        callback.on_evaluate(arguments, trainer.state, TrainerControl(), metrics)
        new_best = transformers.Trainer._determine_best_metric(trainer, metrics, None)
        rows.append([bool(new_best), trainer.state.best_global_step,
                     callback.early_stopping_patience_counter])
    return rows


def main():
    draw = random.Random(7)
    cases = [([1.0, 1.0, 0.5, 0.5, 0.75, 0.25], 0.0), ([1.0, 0.9375, 0.875, 0.5, 0.4375], 0.0625)]
    for threshold in (0.0, 0.05, 0.25):
        cases.append(([draw.choice([draw.random(), 0.5, 0.25]) for _ in range(20)], threshold))
    golden = [{"losses": losses, "threshold": threshold, "rows": follow(losses, threshold)}
              for losses, threshold in cases]
    path = pathlib.Path(__file__).parent / "early_stopping.json"
    path.write_text(json.dumps(golden) + "\n")


main()
