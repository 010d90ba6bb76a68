"""Optimizers, learning-rate schedules and the exponential moving average (EMA) of the weights."""
