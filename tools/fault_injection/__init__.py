"""What tools/chaos.py is made of. One file each: the tiny trainings, the faults, a training with faults."""
