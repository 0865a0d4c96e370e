"""What a run does, stage by stage: the only room of training that knows how its work is evaluated."""
