"""The method: sample, explain, cut, critique, mask, align. Imports the stages, never an estimator."""
