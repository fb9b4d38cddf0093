"""Break tiny trainings at random and compare how they end: the trainings, the faults, a training with faults."""
