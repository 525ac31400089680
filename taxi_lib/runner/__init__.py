"""One notebook or many, run with evidence: knows nothing of taxis, and can be copied out."""
