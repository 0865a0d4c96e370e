"""Process, disk and device: checkpoints, the log, the run folder, signals, several processes."""
