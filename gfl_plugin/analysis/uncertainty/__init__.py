"""What the predicted standard deviations of box sides are worth: their correlation with errors, and intervals."""
