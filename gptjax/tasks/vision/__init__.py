"""The kinds of run `contrastive` and `image_classification`: encoders of images."""
