"""A kernel for one notebook: started, watched, ended with all that it started."""
