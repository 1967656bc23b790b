"""Training: draw, augment, differentiate, step; many times in one compiled program."""
