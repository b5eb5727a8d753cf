"""The ports made real: paramiko and zeep live here and nowhere else."""
