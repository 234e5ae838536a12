"""Checks of a model before anything long runs with it."""

from marginome.model_check.check import check_model, stop_on_problems

__all__ = ["check_model", "stop_on_problems"]
