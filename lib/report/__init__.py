"""From parameters to report.html."""
