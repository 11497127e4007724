"""Studies: variants of a config, trained alike over seeds and compared. Needs the extra ``[ablation]``."""
