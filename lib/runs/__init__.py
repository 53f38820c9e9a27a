"""From configurations to scored weights."""
