"""The report of a study: points, estimates, tables, figures, the Pareto front."""
