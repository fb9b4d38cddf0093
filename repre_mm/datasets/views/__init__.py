"""Views of images with the distributions of mmpretrain's, in a fraction of the time."""
