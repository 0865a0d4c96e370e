"""What a run does, stage by stage. The loops and the engine import nothing of the evaluation; the stages do."""
