"""What class losses ask of the scores during a training, from the scalars of ClassLossStatsHook."""
