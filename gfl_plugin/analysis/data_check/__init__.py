"""What a config's data sets hold that would cost a day of training: annotations, images, what GFL learns of them."""
