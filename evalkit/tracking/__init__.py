"""MLflow: one parent run a sweep, one child a variant.

The only package that imports mlflow, and only inside functions.
"""

from evalkit.tracking.log import track
from evalkit.tracking.log_certificates import track_certificates
from evalkit.tracking.log_replays import track_replays
from evalkit.tracking.place import tracking_uri, ui_command, ui_url

__all__ = ["track", "track_certificates", "track_replays", "tracking_uri", "ui_command", "ui_url"]
