"""Checks of a model before anything long runs with it."""

from marginome.model_check.check import architecture, check_model, stop_on_problems

__all__ = ["architecture", "check_model", "stop_on_problems"]
