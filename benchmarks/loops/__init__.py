"""The loops a person would write for one job: msgspec, a dict, one file in, one file out. No state that survives, no
checkpoints, no disorder beyond what the job has: the limit that an engine in Python is measured against."""
