"""Hugging Face's encoders of images: ViT and CLIP, both ways."""
