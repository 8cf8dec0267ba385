"""How near an estimate comes to the volume that it stands for."""
