"""Studies: variants of a config, trained with the same seeds and compared. Needs the extra ``[ablation]``."""
