"""What a replay saw: outcomes as tables, scores, numbers with intervals, verdicts; on disk and side by side."""
