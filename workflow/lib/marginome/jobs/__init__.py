"""What the rules' scripts call: read files, compute, write files. One module per stage."""
