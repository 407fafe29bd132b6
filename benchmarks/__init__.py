"""What Tidegate costs, measured against the loop a person would write, in the same run. See README.md."""
