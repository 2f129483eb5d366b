"""Learning settings from development queries: what is learnt is a value, to be reported on other queries."""

from evalkit.tuning.alpha import AlphaStudy, fit_alpha, study_alpha
from evalkit.tuning.finetune import fine_tune

__all__ = ["AlphaStudy", "fine_tune", "fit_alpha", "study_alpha"]
