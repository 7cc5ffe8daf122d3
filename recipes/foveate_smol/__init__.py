"""foveate-smol: a pretrained language model taught to see our scenes, and to answer in sentences."""
