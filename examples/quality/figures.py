"""Means, spreads and paired differences of the study's runs."""
import math
import statistics

# Of Student's t, by degrees of freedom: 95 % of all lies within, on both sides of 0.
WITHIN_95 = [0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201]


def t_bound(freedom):
    return WITHIN_95[freedom] if freedom < len(WITHIN_95) else 1.96 + 2.6 / freedom


class Sample:
    """Numbers that were measured alike; NaN stands for what cannot be told."""

    def __init__(self, values):
        self.values = list(values)
        self.count = len(self.values)
        self.mean = statistics.fmean(self.values) if self.values else math.nan
        self.spread = statistics.stdev(self.values) if self.count > 1 else math.nan
        self.error = self.spread / math.sqrt(self.count) if self.count > 1 else math.nan

    def spread_text(self, digits):
        """Mean and standard deviation."""
        return self._text(digits, self.spread, "")

    def difference_text(self, digits):
        """Mean and its standard error, of differences."""
        return self._text(digits, self.error, "+")

    def _text(self, digits, around, sign):
        if not self.values:
            return "missing"
        text = f"{self.mean:{sign}.{digits}f}"
        return text if math.isnan(around) else f"{text} ± {around:.{digits}f}"

    def reading(self):
        """Whether differences are distinct from none, by a t test at 95 %."""
        if self.count < 2:
            return "one run: cannot be told" if self.values else "missing"
        if all(value == 0 for value in self.values):
            return "equal"
        if abs(self.mean) <= t_bound(self.count - 1) * self.error:
            return "within noise"
        return "higher" if self.mean > 0 else "lower"


class Runs:
    """The results of trained runs, by (model, task, base, seed)."""

    def __init__(self, models, tasks, seeds, results):
        self.pairs = [(model, task) for model in models for task in tasks]
        self.seeds = list(seeds)
        self.results = results

    def get(self, model, task, base, seed):
        return self.results.get((model, task, base, f"seed{seed}"))

    def sample(self, model, task, base, key):
        runs = (self.get(model, task, base, seed) for seed in self.seeds)
        return Sample(run[key] for run in runs if run)

    def differences(self, a, b, value, pairs=None):
        """value(run of a, run of b) for the same model, task and seed."""
        return Sample(value(run_a, run_b) for model, task in pairs or self.pairs
                      for seed in self.seeds
                      for run_a in [self.get(model, task, a, seed)]
                      for run_b in [self.get(model, task, b, seed)] if run_a and run_b)


def loss_change(a, b):
    """By how many percent the loss of a is above that of b."""
    return 100 * (a["loss"] / b["loss"] - 1)


def match_change(a, b):
    """In percentage points."""
    return 100 * (a["exact_match"] - b["exact_match"])
