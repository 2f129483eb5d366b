"""Learning settings from development queries: what is learnt is a value, to be reported on other queries."""

from evalkit.tuning.alpha import AlphaStudy, fit_alpha, study_alpha

__all__ = ["AlphaStudy", "fit_alpha", "study_alpha"]
