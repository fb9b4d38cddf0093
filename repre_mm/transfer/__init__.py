"""Detection, segmentation and fine-tuning from a pre-trained encoder."""
