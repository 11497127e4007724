"""Pictures of detections: what a detector believes about the sides of its boxes, drawn on the image."""
