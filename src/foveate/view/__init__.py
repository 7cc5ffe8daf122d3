"""`foveate view`: a page on this machine that shows what a reduction does to a picture and its answer."""
