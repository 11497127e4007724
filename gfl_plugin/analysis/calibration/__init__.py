"""Split conformal prediction of box sides: margins from labelled images, and the coverage that they reach on others."""
